#pragma once
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "levin/core/named_values.h"
#include "log_file.h"

namespace levin::detail {

/// spool/SERVICE.jsonl: all that a run logs for a service, one JSON object a line, for levin-sync to upload where there is a network. The
/// file is only appended to; a training that resumes writes a "start", after which earlier values of later steps are superseded.
///
///     {"kind":"run","version":1,"service":"wandb","id":"5f0c…","settings":{"project":"levin","name":""},"time":1700000000.5}
///     {"kind":"params","values":{"trainer.max_epochs":"6"}}
///     {"kind":"start","step":0,"time":…}
///     {"kind":"metrics","step":99,"epoch":1,"time":…,"values":{"train_loss":0.25}}
///     {"kind":"end","time":…}
class Spool {
 public:
  /// A file that exists is continued under its run's id. IoError when it cannot be written; DataError when its first line is not a run's.
  Spool(const std::filesystem::path& folder, const std::string& service, nlohmann::ordered_json settings, Seconds flush_interval);

  void params(const std::string& yaml);
  void metrics(const nlohmann::ordered_json& values, int64_t epoch, int64_t step);
  void start(int64_t step);
  void end();
  void flush() { file_.flush(); }

 private:
  void write(const nlohmann::ordered_json& record);

  LogFile file_;
};

}  // namespace levin::detail
