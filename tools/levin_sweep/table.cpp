#include "table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "../levin_report/metric_lines.h"
#include "levin/core/error.h"
#include "levin/core/number_text.h"

namespace levin::sweep {
namespace {

using Cells = std::vector<std::string>;

bool better(MonitorMode mode, double a, double b) { return mode == MonitorMode::min ? a < b : a > b; }

// NaN is no value.
void find_best(const Sweep& sweep, Row& row) {
  const auto& config = sweep.config;
  const auto file = report::metrics_file(config.sweep_dir / sweep.configurations[row.configuration].name);
  if (file.empty()) return;
  report::read_metrics(file, [&](const report::MetricLine& line) {
    if (line.name != config.monitor || std::isnan(line.value) || (row.best && !better(config.mode, line.value, *row.best))) return;
    row.best = line.value;
    row.step = line.step;
  });
}

// All options, in the order of their first mention.
Cells option_names(const Sweep& sweep) {
  Cells names;
  for (const auto& configuration : sweep.configurations)
    for (const auto& [name, value] : configuration.options)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

std::vector<Cells> cells_of(const Sweep& sweep, const std::vector<Row>& rows) {
  const auto names = option_names(sweep);
  const bool ranked = !sweep.config.monitor.empty();
  std::vector<Cells> lines{{"name", "state"}};
  if (ranked) lines.front().insert(lines.front().end(), {sweep.config.monitor, "step"});
  lines.front().insert(lines.front().end(), names.begin(), names.end());
  for (const auto& row : rows) {
    const auto& [name, options] = sweep.configurations[row.configuration];
    Cells line{name, row.state};
    if (ranked) line.insert(line.end(), {row.best ? value_text(*row.best, 6) : "", row.step ? std::to_string(*row.step) : ""});
    for (const auto& option : names) {
      const auto found = std::find_if(options.begin(), options.end(), [&](const auto& each) { return each.first == option; });
      line.push_back(found == options.end() ? "" : found->second);
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace

std::string state_of(const Sweep& sweep, const Result& result) {
  if (!result.exit_code) return result.command.empty() ? "waiting" : "unfinished";
  if (*result.exit_code == static_cast<int>(ExitCode::finished)) return result.finished(sweep.config.program) ? "finished" : "waiting";
  if (*result.exit_code == static_cast<int>(ExitCode::stopped_early)) return "stopped";
  return fmt::format("failed ({})", *result.exit_code);
}

std::vector<Row> make_rows(const Sweep& sweep, const std::vector<Result>& results) {
  std::vector<Row> rows(results.size());
  for (size_t i = 0; i < rows.size(); i++) {
    rows[i] = {.configuration = i, .state = state_of(sweep, results[i]), .best = {}, .step = {}};
    if (!sweep.config.monitor.empty()) find_best(sweep, rows[i]);
  }
  std::stable_sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
    if (a.best && b.best) return better(sweep.config.mode, *a.best, *b.best);
    return a.best && !b.best;
  });
  return rows;
}

std::string table_text(const Sweep& sweep, const std::vector<Row>& rows) {
  const auto lines = cells_of(sweep, rows);
  std::vector<size_t> widths(lines.front().size());
  for (const auto& line : lines)
    for (size_t i = 0; i < line.size(); i++) widths[i] = std::max(widths[i], line[i].size());
  std::string text;
  for (const auto& line : lines) {
    std::string row;
    for (size_t i = 0; i < line.size(); i++) row += fmt::format("{:<{}}  ", line[i], widths[i]);
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + '\n';
  }
  return text;
}

std::string table_csv(const Sweep& sweep, const std::vector<Row>& rows) {
  std::string text;
  for (const auto& line : cells_of(sweep, rows)) {
    for (size_t i = 0; i < line.size(); i++) {
      std::string cell = line[i];
      if (cell.find_first_of(",\"\n\r") != std::string::npos) {
        for (size_t at = 0; (at = cell.find('"', at)) != std::string::npos; at += 2) cell.insert(at, 1, '"');
        cell.insert(0, 1, '"').append(1, '"');
      }
      text.append(i > 0 ? "," : "").append(cell);
    }
    text += '\n';
  }
  return text;
}

}  // namespace levin::sweep
