#include "run_record.h"

#include <ATen/Parallel.h>
#include <sys/resource.h>
#include <torch/csrc/api/include/torch/version.h>
#include <xxhash.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "levin/cluster/launcher.h"
#include "levin/comm/host_values.h"
#include "levin/core/version.h"
#include "levin/trainer/trainer.h"
#include "run_folder.h"

namespace levin::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string utc(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

// run.json of the previous attempt.
Json previous_record(const RunRecord& record) { return Json::parse(record.previous, nullptr, /*allow_exceptions=*/false); }

Json earlier_attempts(const Json& previous) {
  const bool has_some = previous.is_object() && previous.contains("attempts") && previous["attempts"].is_array();
  return has_some ? previous["attempts"] : Json::array();
}

Json attempt(const RunRecord& record, int ranks) {
  Json json{{"subcommand", record.subcommand}, {"started", utc(record.start)}, {"ranks", ranks}};
  json["resumed_from"] = record.resumed_from.empty() ? Json() : Json(record.resumed_from);
  json["first_step"] = record.first_step;
  if (record.job.exists()) json["job"] = record.job.describe();
  if (!record.abandoned.empty()) json["abandoned"] = record.abandoned;
  return json;
}

Json job_of(const BatchJob& job) {
  Json json{{"system", batch_system_name(job.system)}, {"id", job.id}, {"restart_count", job.restart_count}};
  if (job.array_index) json["array_index"] = *job.array_index;
  return json;
}

// An attempt that creates no checkpoint folders keeps those of the previous attempt.
void add_checkpoint_folders(Json& json, const RunRecord& record, const Json& previous) {
  if (!record.checkpoint_folders.empty())
    json["checkpoint_folders"] = record.checkpoint_folders;
  else if (previous.is_object() && previous.contains("checkpoint_folders"))
    json["checkpoint_folders"] = previous["checkpoint_folders"];
}

}  // namespace

void write_run_record(const std::filesystem::path& file, const RunRecord& record, Trainer& trainer, std::optional<double> peak_bytes,
                      const std::string& exit_reason, std::optional<int> exit_code) {
  auto& session = trainer.session();
  const auto& report = trainer.report();
  const auto now = std::chrono::system_clock::now();
  Json json;
  json["program"] = record.program;
  json["subcommand"] = record.subcommand;
  Json exit{{"code", exit_code ? Json(*exit_code) : Json()}, {"reason", exit_reason}};
  if (exit_code && !record.stopped_by.empty()) exit["stopped_by"] = record.stopped_by;
  json["exit"] = exit;
  if (record.job.exists()) json["job"] = job_of(record.job);
  json["started"] = utc(record.start);
  json["seconds"] = std::chrono::duration<double>(now - record.start).count();
  json["versions"] = {{"levin", version}, {"libtorch", libtorch_version()}, {"mpi", mpi_library()}};
  json["ranks"] = session.size();
  json["threads_per_rank"] = at::get_num_threads();
  json["strategy"] = session.strategy().describe();
  json["state_bytes_peak"] = session.strategy().memory().peak();
  json["accelerator"] = session.accelerator().name();
  for (const auto& location : session.topology().locations())
    json["hosts"].push_back(
        {{"rank", location.rank}, {"host", location.host}, {"local_rank", location.local_rank}, {"cores", location.cores}});
  json["steps"] = report.steps;
  json["skipped_steps"] = report.skipped_steps;
  json["epochs"] = report.epochs;
  json["samples"] = report.samples;
  json["samples_per_second"] = report.samples_per_second();
  json["peak_bytes_per_rank"] = peak_bytes ? Json(*peak_bytes) : Json();
  json["metrics"] = Json::object();
  for (const auto& [name, value] : report.metrics) json["metrics"][name] = value;
  json["config"] = Json::object();
  for (const auto& [path, text] : flatten(record.config)) json["config"][path] = text;
  const Json previous = previous_record(record);
  add_checkpoint_folders(json, record, previous);
  json["attempts"] = earlier_attempts(previous);
  auto& own = json["attempts"].emplace_back(attempt(record, session.size()));
  own["steps"] = report.steps;
  own["seconds"] = json["seconds"];
  own["exit"] = exit;
  write_text(file, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::vector<EarlierAttempt> attempts_in(const std::string& run_record, const std::string& subcommand) {
  std::vector<EarlierAttempt> attempts;
  for (const Json& json : earlier_attempts(Json::parse(run_record, nullptr, /*allow_exceptions=*/false))) {
    if (!json.is_object() || json.value("subcommand", Json()) != subcommand) continue;
    EarlierAttempt attempt;
    if (const Json step = json.value("first_step", Json()); step.is_number_integer()) attempt.first_step = step.get<int64_t>();
    if (const auto exit = json.find("exit");
        exit != json.end() && exit->is_object() && exit->contains("code") && (*exit)["code"].is_number_integer())
      attempt.exit_code = (*exit)["code"].get<int>();
    attempts.push_back(attempt);
  }
  return attempts;
}

std::string begin_of_record(const RunRecord& record, int ranks) {
  Json json{{"program", record.program}, {"subcommand", record.subcommand}, {"started", utc(record.start)}, {"ranks", ranks}};
  const Json previous = previous_record(record);
  add_checkpoint_folders(json, record, previous);
  json["attempts"] = earlier_attempts(previous);
  json["attempts"].push_back(attempt(record, ranks));
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.substr(0, text.size() - 1);
}

std::string read_run_record(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream content;
  content << in.rdbuf();
  return in ? content.str() : std::string();
}

std::vector<std::filesystem::path> checkpoint_folders(const std::filesystem::path& run_folder) {
  std::vector<std::filesystem::path> folders{run_folder / "checkpoints"};
  const Json json = Json::parse(read_run_record(run_folder / "run.json"), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("checkpoint_folders") || !json["checkpoint_folders"].is_array()) return folders;
  std::error_code unseen;
  for (const auto& folder : json["checkpoint_folders"]) {
    if (!folder.is_string()) continue;
    const auto path = run_folder / folder.get<std::string>();
    if (path != folders.front() && !std::filesystem::equivalent(path, folders.front(), unseen)) folders.push_back(path);
  }
  return folders;
}

bool holds_checkpoint(const std::filesystem::path& run_folder, const std::filesystem::path& checkpoint) {
  const auto folders = checkpoint_folders(run_folder);
  return std::any_of(folders.begin(), folders.end(), [&](const auto& folder) {
    std::error_code unseen;
    return std::filesystem::equivalent(folder, checkpoint.parent_path(), unseen);
  });
}

std::string relative_to_run(const std::filesystem::path& folder, const std::filesystem::path& run_folder) {
  const auto normal = [](const std::filesystem::path& path) { return std::filesystem::absolute(path).lexically_normal(); };
  const auto relative = normal(folder).lexically_relative(normal(run_folder));
  return (relative.empty() || *relative.begin() == ".." ? normal(folder) : relative).string();
}

bool ended_well(const std::string& run_record, const std::string& option, const std::string& value) {
  const Json json = Json::parse(run_record, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return false;
  const auto exit = json.find("exit"), config = json.find("config");
  if (exit == json.end() || !exit->is_object() || config == json.end() || !config->is_object()) return false;
  return exit->value("code", Json()) == 0 && config->value(option, Json()) == value;
}

double peak_bytes_of_all(Communicator& communicator) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return all_max(communicator, static_cast<double>(usage.ru_maxrss) * 1024);
}

std::string libtorch_version() { return TORCH_VERSION; }

std::string hash_text(const std::string& text) { return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size())); }

}  // namespace levin::cli
