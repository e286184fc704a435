#include "metric_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string_view>

#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"

namespace levin::report {
namespace {

constexpr std::string_view csv_header = "step,epoch,name,value";

[[noreturn]] void refuse(const std::filesystem::path& file, size_t line, std::string_view text, const char* form) {
  throw DataError(fmt::format("{}:{}: {} is not {}", file.string(), line, quote(text), form),
                  "it was not written by Levin's logger, or was damaged: restore it, or remove the line", "report");
}

// The end of a line of CSV: a newline outside of quotes. npos: the text ends first.
size_t end_of_line(std::string_view text, size_t begin) {
  bool quoted = false;
  for (size_t i = begin; i < text.size(); i++) {
    if (text[i] == '"') quoted = !quoted;
    if (text[i] == '\n' && !quoted) return i;
  }
  return std::string_view::npos;
}

// The cell at the begin of `line`, which loses it and the comma behind it. Nothing: a quote is missing.
std::optional<std::string> take_cell(std::string_view& line) {
  std::string cell;
  size_t end = 0;
  if (line.starts_with('"')) {
    for (end = 1;; end++) {
      if (end >= line.size()) return std::nullopt;
      if (line[end] == '"' && !(end + 1 < line.size() && line[++end] == '"')) break;
      cell += line[end];
    }
    if (line[end] == '"') end++;
    if (end < line.size() && line[end] != ',') return std::nullopt;
  } else {
    end = std::min(line.find(','), line.size());
    cell = line.substr(0, end);
  }
  line.remove_prefix(std::min(end + 1, line.size()));
  return cell;
}

std::optional<MetricLine> parse_csv(std::string_view line) {
  if (line.ends_with(',')) return std::nullopt;
  const auto step = take_cell(line), epoch = take_cell(line), name = take_cell(line), value = take_cell(line);
  if (!step || !epoch || !name || name->empty() || !value || !line.empty()) return std::nullopt;
  const auto step_number = parse_number<int64_t>(*step);
  const auto number = parse_number<double>(*value);
  if (!step_number || !parse_number<int64_t>(*epoch) || !number) return std::nullopt;
  return MetricLine{*step_number, sanitized(*name), *number};
}

std::optional<double> number_of(const nlohmann::ordered_json& json) {
  if (json.is_number()) return json.get<double>();
  if (json == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (json == "Infinity") return std::numeric_limits<double>::infinity();
  if (json == "-Infinity") return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

}  // namespace

std::string read_text(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream text;
  if (in) text << in.rdbuf();
  if (!in.is_open() || in.bad())
    throw IoError(fmt::format("cannot read {}: {}", file.string(), std::strerror(errno)), "check its permissions", "report");
  return text.str();
}

namespace {

MetricFile read_csv(const std::filesystem::path& file, const std::function<void(const MetricLine&)>& use) {
  const std::string text = read_text(file);
  MetricFile read;
  size_t number = 1;
  for (size_t begin = 0; begin < text.size(); number++) {
    const size_t end = end_of_line(text, begin);
    const auto line = std::string_view(text).substr(begin, end - begin);
    if (end == std::string_view::npos) {
      read.cut_off = line;
      break;
    }
    if (number == 1 && line != csv_header) refuse(file, number, line, "step,epoch,name,value");
    if (number > 1) {
      auto parsed = parse_csv(line);
      if (!parsed) refuse(file, number, line, "step,epoch,name,value");
      use(*parsed);
      read.values++;
    }
    begin = end + 1;
  }
  return read;
}

MetricFile read_json_lines(const std::filesystem::path& file, const std::function<void(const MetricLine&)>& use) {
  const std::string text = read_text(file);
  MetricFile read;
  size_t number = 1;
  for (size_t begin = 0; begin < text.size(); number++) {
    const size_t end = text.find('\n', begin);
    const auto line = std::string_view(text).substr(begin, end - begin);
    if (end == std::string::npos) {
      read.cut_off = line;
      break;
    }
    const auto object = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer())
      refuse(file, number, line, "an object with a step");
    const auto step = object["step"].get<int64_t>();
    for (const auto& [key, json] : object.items()) {
      if (key == "step" || key == "epoch" || key == "time") continue;
      const auto value = number_of(json);
      if (!value) refuse(file, number, json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace), "a number");
      use({step, sanitized(key), *value});
      read.values++;
    }
    begin = end + 1;
  }
  return read;
}

}  // namespace

std::filesystem::path metrics_file(const std::filesystem::path& run) {
  std::error_code unseen;
  for (const char* name : {"metrics.csv", "metrics.jsonl"})
    if (std::filesystem::is_regular_file(run / name, unseen)) return run / name;
  return {};
}

MetricFile read_metrics(const std::filesystem::path& file, const std::function<void(const MetricLine&)>& use) {
  return file.extension() == ".jsonl" ? read_json_lines(file, use) : read_csv(file, use);
}

}  // namespace levin::report
