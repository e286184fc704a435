#include "log_folder.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "test_paths.h"

namespace levin::test {

LogFolder::LogFolder() {
  char name[] = "/tmp/levin-test-XXXXXX";
  path = mkdtemp(name);
}

LogFolder::~LogFolder() { std::filesystem::remove_all(path); }

FileSizeLimit::FileSizeLimit(int64_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
  getrlimit(RLIMIT_FSIZE, &before_);
  const rlimit limit{static_cast<rlim_t>(bytes), before_.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
}

FileSizeLimit::~FileSizeLimit() {
  setrlimit(RLIMIT_FSIZE, &before_);
  std::signal(SIGXFSZ, handler_);
}

std::string text_of(const std::filesystem::path& file) {
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

std::vector<nlohmann::json> json_lines_of(const std::filesystem::path& file) {
  std::vector<nlohmann::json> objects;
  std::istringstream lines(text_of(file));
  for (std::string line; std::getline(lines, line);) objects.push_back(nlohmann::json::parse(line));
  return objects;
}

namespace {

// What a script of this folder prints, of which `begin` is the first that counts. Throws with its words when it fails.
nlohmann::json printed_by(const std::string& script, const std::filesystem::path& folder, const std::string& begin) {
  const std::string tests = LEVIN_TESTS;
  const std::string command = "'" + tests + "/../tools/tests-python' '" + tests + "/loggers/" + script + "' '" + folder.string() + "' 2>&1";
  std::string text;
  std::FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) throw std::runtime_error("cannot run " + command);
  for (int letter; (letter = std::fgetc(pipe)) != EOF;) text += static_cast<char>(letter);
  if (pclose(pipe) != 0) throw std::runtime_error(command + ": " + text);
  return nlohmann::json::parse(text.substr(text.find(begin) + begin.size() - 1));
}

}  // namespace

std::vector<Event> read_events(const std::filesystem::path& folder) {
  std::vector<Event> events;
  for (const auto& event : printed_by("read_events.py", folder, "["))
    events.push_back({event["kind"], event["tag"], event["step"], event["value"], event["wall_time"]});
  return events;
}

nlohmann::json read_plugins(const std::filesystem::path& folder) { return printed_by("read_plugins.py", folder, "READ {"); }

std::vector<std::pair<int64_t, double>> scalars_of(const std::vector<Event>& events, const std::string& tag) {
  std::vector<std::pair<int64_t, double>> values;
  for (const auto& event : events)
    if (event.kind == "scalar" && event.tag == tag) values.emplace_back(event.step, event.number());
  return values;
}

}  // namespace levin::test
