#pragma once
// A folder for what loggers write, and what others read in it.
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
