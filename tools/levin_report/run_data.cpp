#include "run_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "levin/core/error.h"
#include "levin/core/text.h"
#include "metric_lines.h"
#include "number_forms.h"

namespace levin::report {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

bool is_file(const fs::path& path) {
  std::error_code unseen;
  return fs::is_regular_file(path, unseen);
}

// Of runs that lie in a folder which is not a run: its name was left out, perhaps.
std::string runs_in(const fs::path& folder) {
  constexpr size_t most_named = 5;
  std::vector<std::string> names;
  std::error_code unseen;
  for (const auto& entry : fs::directory_iterator(folder, unseen))
    if (!metrics_file(entry.path()).empty() || is_file(entry.path() / "run.json"))
      names.push_back(sanitized(entry.path().filename().string()));
  std::sort(names.begin(), names.end());
  if (names.size() > most_named) {
    names.resize(most_named);
    names.emplace_back("…");
  }
  return joined(names);
}

class SeriesByName {
 public:
  void add(const MetricLine& line) {
    const auto [found, is_new] = places_.emplace(line.name, series.size());
    if (is_new) series.push_back({line.name, {}});
    series[found->second].points.push_back({line.step, line.value});
  }
  std::vector<Series> series;

 private:
  std::map<std::string, size_t> places_;
};

void note_cut_off(RunData& run, const fs::path& file, const MetricFile& read) {
  if (!read.cut_off.empty())
    run.problems.push_back(
        fmt::format("[report] {}: the last line, {}, is cut off; the report is without it", file.string(), quote(read.cut_off)));
}

void read_values(RunData& run) {
  const auto file = metrics_file(run.folder);
  if (file.empty()) {
    const auto runs = runs_in(run.folder);
    throw DataError(fmt::format("{} has neither metrics.csv nor metrics.jsonl", run.folder.string()),
                    !runs.empty() ? fmt::format("it holds runs: give one of {}", runs)
                                  : "give the directory of a run that logs to csv or json (--trainer.logger)",
                    "report");
  }
  SeriesByName by_name;
  const auto read = read_metrics(file, [&](const MetricLine& line) { by_name.add(line); });
  if (read.values == 0)
    throw DataError(fmt::format("{} has no values{}", file.string(), read.cut_off.empty() ? "" : "; its only line is cut off"),
                    "wait until the run has logged a step: see --trainer.log_every_n_steps", "report");
  note_cut_off(run, file, read);
  run.metrics = std::move(by_name.series);
  for (auto& series : run.metrics)
    std::stable_sort(series.points.begin(), series.points.end(), [](const Point& a, const Point& b) { return a.step < b.step; });
}

constexpr size_t needed_values = time_part_count + 3;

double* place_of(const std::string& name, Timing& timing) {
  if (name == "time/total") return &timing.total;
  if (name == "steps") return &timing.steps;
  if (name == "samples") return &timing.samples;
  for (size_t i = 0; i < time_part_count; i++)
    if (name == std::string("time/") + time_parts[i]) return &timing.parts[i];
  return nullptr;
}

// An attempt that resumed has measured again what follows its first step. A record of no step, at the end of an attempt, belongs to the one
// before.
void keep_timing(std::vector<Timing>& kept, Timing timing) {
  while (!kept.empty() && static_cast<double>(kept.back().step) > static_cast<double>(timing.step) - timing.steps) kept.pop_back();
  if (kept.empty() || timing.steps > 0) return kept.push_back(std::move(timing));
  auto& before = kept.back();
  before.total += timing.total;
  for (size_t i = 0; i < time_part_count; i++) before.parts[i] += timing.parts[i];
  if (timing.process_bytes) before.process_bytes = timing.process_bytes;
}

void read_timings(RunData& run) {
  const auto file = run.folder / "timings.csv";
  if (!is_file(file)) return;
  std::vector<Timing> records;
  const auto read = read_metrics(file, [&](const MetricLine& line) {
    if (line.name == "time") records.push_back({.step = line.step});
    if (records.empty()) return;
    auto& record = records.back();
    if (line.name == "memory/process_bytes") record.process_bytes = line.value;
    if (line.name.starts_with("lr-")) record.learning_rates.emplace_back(line.name, line.value);
    if (double* needed = place_of(line.name, record)) {
      *needed = line.value;
      record.found++;
    }
  });
  note_cut_off(run, file, read);
  for (auto& record : records)
    if (record.found >= needed_values) keep_timing(run.timings, std::move(record));  // else its writer was killed
  SeriesByName rates;
  for (const auto& timing : run.timings)
    for (const auto& [name, rate] : timing.learning_rates) rates.add({timing.step, name, rate});
  run.learning_rates = std::move(rates.series);
}

template <class T>
std::optional<T> number_in(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number()) return std::nullopt;
  return found->get<T>();
}

std::string text_in(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? sanitized(found->get<std::string>()) : std::string();
}

Attempt attempt_of(const Json& json) {
  Attempt attempt{.first_step = number_in<int64_t>(json, "first_step").value_or(0),
                  .steps = number_in<int64_t>(json, "steps"),
                  .exit_code = {},
                  .seconds = number_in<double>(json, "seconds"),
                  .started = text_in(json, "started"),
                  .exit_reason = {},
                  .job = text_in(json, "job")};
  if (const auto exit = json.find("exit"); exit != json.end() && exit->is_object()) {
    attempt.exit_code = number_in<int64_t>(*exit, "code");
    attempt.exit_reason = text_in(*exit, "reason");
    if (const auto stopped_by = text_in(*exit, "stopped_by"); !stopped_by.empty()) attempt.exit_reason += ": " + stopped_by;
  }
  return attempt;
}

// Of attempts that begin at one step, only the last may have left its steps; but all of them are restarts there.
void mark_abandoned(std::vector<Attempt>& attempts) {
  int64_t least_later = std::numeric_limits<int64_t>::max();
  for (auto attempt = attempts.rbegin(); attempt != attempts.rend(); ++attempt) {
    attempt->abandoned = attempt->first_step > least_later;
    least_later = std::min(least_later, attempt->first_step);
  }
}

void read_record(RunData& run) {
  const auto file = run.folder / "run.json";
  if (!is_file(file)) return;
  const auto json = Json::parse(read_text(file), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    throw DataError(fmt::format("{} is not a whole JSON object", file.string()),
                    "restore it, or move it away: the report lacks restarts then", "report");
  for (const auto& attempt : json.value("attempts", Json::array()))
    if (attempt.is_object() && text_in(attempt, "subcommand") == "fit") run.attempts.push_back(attempt_of(attempt));
  mark_abandoned(run.attempts);
  run.accelerator = text_in(json, "accelerator");
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) run.facts.emplace_back(name, value);
  };
  add("program", text_in(json, "program"));
  if (!run.attempts.empty()) {
    const auto& last = run.attempts.back();
    const auto code = last.exit_code ? fmt::format(" (exit code {})", *last.exit_code) : std::string();
    add("state",
        last.exit_reason.empty() ? std::string("running, or killed") : (last.exit_code ? last.exit_reason : "running, or killed") + code);
    add("started", run.attempts.front().started);
    double seconds = 0;
    for (const auto& attempt : run.attempts) seconds += attempt.seconds.value_or(0);
    if (seconds > 0) add("time in jobs", duration_text(seconds));
    add("attempts", fmt::to_string(run.attempts.size()));
  }
  if (const auto ranks = number_in<int64_t>(json, "ranks")) add("ranks", fmt::to_string(*ranks));
  add("strategy", text_in(json, "strategy"));
  add("accelerator", run.accelerator);
  if (const auto rate = number_in<double>(json, "samples_per_second"); rate && *rate > 0)
    add("throughput", fmt::format("{} samples/s", short_number(*rate)));
  if (const auto bytes = number_in<double>(json, "peak_bytes_per_rank"); bytes && *bytes > 0)
    add("peak memory of a rank", bytes_form(*bytes));
  if (const auto versions = json.find("versions"); versions != json.end() && versions->is_object())
    add("versions", fmt::format("Levin {}, LibTorch {}", text_in(*versions, "levin"), text_in(*versions, "libtorch")));
  if (const auto config = json.find("config"); config != json.end() && config->is_object())
    for (const auto& [key, value] : config->items())
      if (value.is_string()) run.options.emplace_back(sanitized(key), sanitized(value.get<std::string>()));
}

// The last `parts` names of a path, or all.
std::string end_of(const fs::path& path, size_t parts) {
  fs::path end;
  auto rest = path;
  for (size_t i = 0; i < parts && rest.has_filename(); i++) {
    end = end.empty() ? rest.filename() : rest.filename() / end;
    rest = rest.parent_path();
  }
  return end.empty() ? path.string() : end.string();
}

}  // namespace

std::vector<int64_t> RunData::restarts() const {
  std::set<int64_t> steps;
  for (const auto& attempt : attempts)
    if (attempt.first_step > 0 && !attempt.abandoned) steps.insert(attempt.first_step);
  return {steps.begin(), steps.end()};
}

RunData read_run(const fs::path& folder) {
  std::error_code unseen;
  if (!fs::is_directory(folder, unseen))
    throw DataError(fmt::format("{} is not a directory", folder.string()), "give a run's directory, as runs/PROGRAM/0001", "report");
  RunData run;
  run.folder = folder;
  read_values(run);
  read_timings(run);
  read_record(run);
  return run;
}

std::vector<RunData> read_runs(const std::vector<fs::path>& folders) {
  std::vector<RunData> runs;
  std::vector<fs::path> places;
  for (const auto& folder : folders) {
    runs.push_back(read_run(folder));
    std::error_code error;
    auto place = fs::canonical(folder, error);
    if (std::find(places.begin(), places.end(), place) != places.end())
      throw ConfigError(fmt::format("{} is given twice", folder.string()), "name each run once", "report");
    places.push_back(std::move(place));
  }
  for (size_t i = 0; i < runs.size(); i++) {
    const auto shared = [&](size_t parts) {
      return std::any_of(places.begin(), places.end(),
                         [&](const auto& place) { return &place != &places[i] && end_of(place, parts) == end_of(places[i], parts); });
    };
    size_t parts = 1;
    while (shared(parts) && end_of(places[i], parts) != end_of(places[i], parts + 1)) parts++;
    runs[i].label = sanitized(end_of(places[i], parts));
  }
  return runs;
}

}  // namespace levin::report
