#include "scheduler_text.h"

#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "levin/core/number_text.h"

namespace levin::detail {
namespace {

using PbsJson = nlohmann::json;

// Unsigned decimal digits, at most nine.
std::optional<int64_t> clock_part(std::string_view digits) {
  if (digits.empty() || digits.size() > 9 || digits.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return parse_number<int64_t>(digits);
}

std::vector<std::string_view> split_at(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t at; (at = text.find(separator)) != std::string_view::npos; text.remove_prefix(at + 1)) parts.push_back(text.substr(0, at));
  parts.push_back(text);
  return parts;
}

std::string_view trimmed(std::string_view text) {
  constexpr const char* blanks = " \t\r\n";
  const auto begin = text.find_first_not_of(blanks);
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

// HH:MM:SS or, with `short_form`, MM:SS.
std::optional<double> clock_seconds(std::string_view text, int64_t most_hours, bool short_form) {
  const auto parts = split_at(text, ':');
  if (parts.size() != 3 && !(short_form && parts.size() == 2)) return std::nullopt;
  int64_t seconds = 0;
  for (size_t i = 0; i < parts.size(); i++) {
    const auto number = clock_part(parts[i]);
    const bool hours = parts.size() == 3 && i == 0;
    if (!number || *number > (hours ? most_hours : 59) || (i > 0 && parts[i].size() != 2)) return std::nullopt;
    seconds = seconds * 60 + *number;
  }
  return static_cast<double>(seconds);
}

// The value of a word KEY=VALUE; a key counts only where scontrol begins a line with it, so that names of jobs cannot pretend.
std::optional<std::string> value_in_line(std::string_view line, std::string_view first_key, std::string_view key) {
  line = trimmed(line);
  if (!line.starts_with(std::string(first_key) + "=")) return std::nullopt;
  for (const auto word : split_at(line, ' '))
    if (word.starts_with(key) && word.size() > key.size() && word[key.size()] == '=') return std::string(word.substr(key.size() + 1));
  return std::nullopt;
}

std::optional<double> pbs_seconds(const PbsJson& value) {
  if (value.is_number_unsigned()) return value.get<double>();
  if (!value.is_string()) return std::nullopt;
  const auto text = value.get<std::string>();
  if (const auto seconds = clock_part(text)) return static_cast<double>(*seconds);
  return clock_seconds(text, 999'999, /*short_form=*/true);
}

// "Sat Nov 28 03:00:00 2026", in local time, or seconds since 1970.
std::optional<std::time_t> pbs_time(const PbsJson& value) {
  if (value.is_number_unsigned()) return value.get<std::time_t>();
  if (!value.is_string()) return std::nullopt;
  const auto text = value.get<std::string>();
  if (const auto seconds = parse_number<std::time_t>(text)) return *seconds > 0 ? seconds : std::nullopt;
  std::tm parts{};
  const char* end = strptime(text.c_str(), "%a %b %d %H:%M:%S %Y", &parts);
  if (!end || *end != '\0') return std::nullopt;
  parts.tm_isdst = -1;
  const std::time_t time = std::mktime(&parts);
  return time > 0 ? std::optional(time) : std::nullopt;
}

std::optional<int64_t> pbs_count(const PbsJson& value) {
  if (value.is_number_unsigned()) return value.get<int64_t>();
  return value.is_string() ? clock_part(value.get<std::string>()) : std::nullopt;
}

}  // namespace

std::optional<double> slurm_seconds(std::string_view text) {
  text = trimmed(text);
  if (text == "UNLIMITED") return std::numeric_limits<double>::infinity();
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return clock_seconds(text, 999'999, /*short_form=*/true);
  const auto days = clock_part(text.substr(0, dash));
  const auto rest = clock_seconds(text.substr(dash + 1), 23, /*short_form=*/false);
  if (!days || !rest) return std::nullopt;
  return static_cast<double>(*days) * 86400 + *rest;
}

std::optional<SlurmJobState> slurm_job_state(std::string_view show_job) {
  if (!trimmed(show_job).starts_with("JobId=")) return std::nullopt;
  SlurmJobState job;
  for (const auto line : split_at(show_job, '\n')) {
    if (job.state.empty()) job.state = value_in_line(line, "JobState", "JobState").value_or("");
    if (const auto why = value_in_line(line, "JobState", "Reason")) job.timed_out = *why == "TimeLimit" || *why == "DeadLine";
    if (const auto time = value_in_line(line, "PreemptEligibleTime", "PreemptTime")) job.preempted = *time != "None" && *time != "Unknown";
    if (const auto requeue = value_in_line(line, "Requeue", "Requeue")) job.requeue = *requeue == "1";
    if (const auto count = value_in_line(line, "Requeue", "Restarts")) job.restarts = clock_part(*count).value_or(0);
    if (const auto batch = value_in_line(line, "Requeue", "BatchFlag")) job.batch = *batch != "0";
  }
  if (job.state.empty()) return std::nullopt;
  job.preempted |= job.state == "PREEMPTED";
  job.timed_out |= job.state == "TIMEOUT" || job.state == "DEADLINE";
  return job;
}

std::optional<PbsJobTimes> pbs_job_times(const std::string& json, std::string_view id) {
  const auto record = PbsJson::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!record.is_object() || !record.contains("Jobs") || !record["Jobs"].is_object()) return std::nullopt;
  const auto job = record["Jobs"].find(std::string(id));
  if (job == record["Jobs"].end() || !job->is_object()) return std::nullopt;
  PbsJobTimes times;
  if (const auto limits = job->find("Resource_List"); limits != job->end() && limits->is_object() && limits->contains("walltime"))
    times.walltime = pbs_seconds(limits->at("walltime"));
  if (const auto start = job->find("stime"); start != job->end()) times.start = pbs_time(*start);
  if (const auto count = job->find("run_count"); count != job->end()) times.run_count = pbs_count(*count);
  return times;
}

}  // namespace levin::detail
