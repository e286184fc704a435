#pragma once
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "levin/core/config_value.h"

namespace levin {
class Communicator;
class Trainer;
}  // namespace levin

namespace levin::cli {

/// What is known of a run before it starts.
struct RunRecord {
  std::string program, subcommand;
  ConfigValue config;
  std::chrono::system_clock::time_point start = std::chrono::system_clock::now();
};

/// run.json: settings, versions, host map, strategy with its form, steps, samples/s, peak memory (bytes, of the largest rank), why it
/// ended.
void write_run_record(const std::filesystem::path& file, const RunRecord& record, Trainer& trainer, std::optional<double> peak_bytes,
                      const std::string& exit_reason, int exit_code);

/// A JSON object without the brace at its end, for a record that a crash writes.
std::string begin_of_record(const RunRecord& record, int ranks);

/// Largest resident memory of any rank so far. Collective.
double peak_bytes_of_all(Communicator& communicator);
std::string libtorch_version();
std::string hash_text(const std::string& text);
/// Hash of a file's content; empty when it cannot be read.
std::string hash_file(const std::filesystem::path& file);

}  // namespace levin::cli
