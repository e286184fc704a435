#pragma once
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

#include "../core/file.h"
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
///     {"kind":"text","name":"notes","step":99,"time":…,"text":"*better*"}
///     {"kind":"histogram","name":"weights","step":99,"time":…,"buckets":[[-1.0,-0.5,4.0],[-0.5,0.0,8.0]]}
///     {"kind":"image","name":"sample","step":99,"time":…,"file":"000000000812.png"}
///     {"kind":"file","name":"fields.h5","step":99,"time":…,"file":"000000000907.h5"}
///     {"kind":"end","status":"finished","time":…}
///
/// A bucket of a histogram is left bound, right bound, count. Images and files are in spool/SERVICE.files, complete before their record is
/// written. Calls of several threads take turns.
class Spool {
 public:
  using Json = nlohmann::ordered_json;
  /// A file that exists is continued under its run's id. IoError when it cannot be written; DataError when its first line is not a run's.
  Spool(const std::filesystem::path& folder, const std::string& service, Json settings, Seconds flush_interval);

  /// Options, written with the next record and before it.
  void params(const std::string& yaml);
  /// After an IoError the record is kept, and written with the next one; see LogFile.
  void metrics(const Json& values, int64_t epoch, int64_t step);
  /// A text or a histogram.
  void media(const Json& record);
  /// An image or a file, of which `write` writes the content; `record` gets the file's name. After an IoError both are kept, up to 64 MiB
  /// of `bytes`, and written with the next record; after another error they are dropped.
  void media(Json record, const std::string& extension, std::function<void(File&)> write, int64_t bytes);
  void start(int64_t step);
  /// `status`: finished, stopped or failed.
  void end(const std::string& status);
  void flush();

  /// The first line's object, of the process that created the spool.
  const Json& run() const noexcept { return run_; }
  const std::filesystem::path& path() const noexcept { return file_.path(); }
  /// spool/SERVICE.files.
  std::filesystem::path files() const;
  int64_t size() const;
  /// Whole lines from byte `begin`: at least a line, if one is there, and about `bytes`.
  std::string lines(int64_t begin, int64_t bytes = int64_t{8} << 20);

 private:
  struct KeptFile {
    Json record;
    std::string extension;
    std::function<void(File&)> write;
    int64_t bytes;
  };
  void write(const Json& record, bool flush = false);
  void write_line(const Json& record);
  void write_files();
  void retry_files();

  mutable std::mutex mutex_;
  LogFile file_;
  Json run_;
  std::string params_;  ///< lines for the next write
  std::deque<KeptFile> kept_;
  int64_t kept_bytes_ = 0;
};

}  // namespace levin::detail
