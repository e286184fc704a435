#include "record.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "../../src/core/file.h"
#include "levin/core/error.h"

namespace levin::sweep {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

fs::path file_of(const Sweep& sweep) { return sweep.config.sweep_dir / "sweep.json"; }

Configuration configuration_of(const Json& json) {
  Configuration configuration{.name = json.at("name"), .options = {}};
  for (const auto& [name, value] : json.at("options").items()) configuration.options.emplace_back(name, value);
  return configuration;
}

Result result_of(const Json& json) {
  Result result;
  if (!json.at("exit_code").is_null()) result.exit_code = json.at("exit_code");
  result.command = json.at("command").get<std::vector<std::string>>();
  return result;
}

}  // namespace

std::vector<Result> read_results(const Sweep& sweep) {
  std::vector<Result> results(sweep.configurations.size());
  const auto file = file_of(sweep);
  std::ifstream in(file);
  if (!in) {
    if (fs::exists(file)) throw IoError(fmt::format("cannot read {}", file.string()), "look at its permissions", "sweep");
    return results;
  }
  std::vector<Configuration> known;
  std::vector<Result> read;
  try {
    const auto json = Json::parse(in);
    for (const auto& each : json.at("configurations")) {
      known.push_back(configuration_of(each));
      read.push_back(result_of(each));
    }
  } catch (const Json::exception& error) {
    throw DataError(fmt::format("{} is damaged: {}", file.string(), error.what()),
                    "remove it: configurations that are finished end at once when they are started again", "sweep");
  }
  for (size_t i = 0; i < known.size(); i++) {
    if (read[i].command.empty()) continue;  // never started
    if (i < results.size() && known[i].options == sweep.configurations[i].options) {
      results[i] = read[i];
      continue;
    }
    throw ConfigError(fmt::format("{} has {} configurations, and number {} is \"{}\"; the sweep file has {}{}", file.string(), known.size(),
                                  i, options_text(known[i]), sweep.configurations.size(),
                                  i < results.size() ? fmt::format(", and \"{}\" there", options_text(sweep.configurations[i])) : ""),
                      "add configurations at the end alone, or give another sweep_dir", "sweep");
  }
  return results;
}

Record::Record(const Sweep& sweep) : sweep_(sweep) {
  const auto& folder = sweep.config.sweep_dir;
  std::error_code error;
  fs::create_directories(folder, error);
  // Programs that the sweep starts inherit the lock: trainings that outlive a killed sweep keep it.
  const auto file = folder / "sweep.lock";
  lock_ = open(file.c_str(), O_RDWR | O_CREAT, 0666);
  if (lock_ < 0)
    throw IoError(fmt::format("cannot write {}: {}", file.string(), std::strerror(errno)), "give a sweep_dir on a shared file system",
                  "sweep");
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    close(lock_);
    throw ConfigError(fmt::format("another levin-sweep uses {}, or trainings that it started", folder.string()),
                      "wait for their end, or give another sweep_dir", "sweep");
  }
  try {
    results_ = read_results(sweep);
    write();
  } catch (...) {
    close(lock_);
    throw;
  }
}

Record::~Record() { close(lock_); }

void Record::set(size_t configuration, Result result) {
  results_[configuration] = std::move(result);
  write();
}

void Record::write() const {
  Json configurations = Json::array();
  for (size_t i = 0; i < results_.size(); i++) {
    const auto& [name, options] = sweep_.configurations[i];
    Json each{{"name", name}, {"options", Json::object()}, {"exit_code", nullptr}, {"command", results_[i].command}};
    for (const auto& [option, value] : options) each["options"][option] = value;
    if (results_[i].exit_code) each["exit_code"] = *results_[i].exit_code;
    configurations.push_back(std::move(each));
  }
  const auto file = file_of(sweep_);
  detail::replace_file(file, Json{{"configurations", std::move(configurations)}}.dump(1) + '\n', /*sync=*/true);
}

}  // namespace levin::sweep
