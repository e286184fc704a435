#pragma once
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

#include "levin/core/named_values.h"
#include "log_file.h"

namespace levin::detail {

/// spool/SERVICE.jsonl: all that a run logs for a service, one JSON object a line, for levin-sync to upload where there is a network. The
/// file is only appended to; a training that resumes writes a "start", after which earlier values of later steps are superseded.
///
///     {"kind":"run","version":1,"service":"wandb","id":"5f0c…","settings":{"project":"levin","name":""},"time":1700000000.5}
///     {"kind":"params","values":{"trainer.max_epochs":"6"},"yaml":"trainer:\n  max_epochs: 6\n"}
///     {"kind":"start","step":0,"time":…}
///     {"kind":"metrics","step":99,"epoch":1,"time":…,"values":{"train_loss":0.25}}
///     {"kind":"end","status":"finished","time":…}
///
/// Calls of several threads take turns.
class Spool {
 public:
  using Json = nlohmann::ordered_json;
  /// A file that exists is continued under its run's id. IoError when it cannot be written; DataError when its first line is not a run's.
  Spool(const std::filesystem::path& folder, const std::string& service, Json settings, Seconds flush_interval);

  /// Options, written with the next record and before it.
  void params(const std::string& yaml);
  /// After an IoError the record is kept, and written with the next one; see LogFile.
  void metrics(const Json& values, int64_t epoch, int64_t step);
  void start(int64_t step);
  /// `status`: finished, stopped or failed.
  void end(const std::string& status);
  void flush();

  /// The first line's object, of the process that created the spool.
  const Json& run() const noexcept { return run_; }
  const std::filesystem::path& path() const noexcept { return file_.path(); }
  int64_t size() const;
  /// Whole lines from byte `begin`: at least a line, if one is there, and about `bytes`.
  std::string lines(int64_t begin, int64_t bytes = int64_t{8} << 20);

 private:
  void write(const Json& record, bool flush = false);

  mutable std::mutex mutex_;
  LogFile file_;
  Json run_;
  std::string params_;  ///< lines for the next write
};

}  // namespace levin::detail
