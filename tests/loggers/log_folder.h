#pragma once
// A folder for what loggers write, and what others read in it.
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace levin::test {

/// A new folder that goes with its object.
class LogFolder {
 public:
  LogFolder();
  ~LogFolder();
  LogFolder(const LogFolder&) = delete;
  LogFolder& operator=(const LogFolder&) = delete;
  std::filesystem::path path;
};

/// While it lives, no file of this process grows beyond this size.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(int64_t bytes);
  ~FileSizeLimit();
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  sighandler_t handler_;
};

std::string text_of(const std::filesystem::path& file);

/// The objects of a file of JSON lines.
std::vector<nlohmann::json> json_lines_of(const std::filesystem::path& file);

/// An event as the real TensorBoard reads it.
struct Event {
  std::string kind, tag;
  int64_t step;
  std::string value;
  double wall_time;
  double number() const { return std::stod(value); }
};

/// All events of the files in a folder, those of a tag in their order. Throws with TensorBoard's words where it cannot read them.
std::vector<Event> read_events(const std::filesystem::path& folder);
/// What the backends of TensorBoard's pages of hyper-parameters, histograms and images find there; see read_plugins.py.
nlohmann::json read_plugins(const std::filesystem::path& folder);
/// The numbers of a tag.
std::vector<std::pair<int64_t, double>> scalars_of(const std::vector<Event>& events, const std::string& tag);

}  // namespace levin::test
