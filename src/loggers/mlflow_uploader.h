#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "levin/core/log.h"
#include "mlflow_client.h"
#include "spool.h"
#include "spool_progress.h"

namespace levin::detail {

/// Uploads a spool to an MLflow server while the training writes it, on a thread that is started by the first notify. What the server did
/// not confirm stays in the spool and is tried again, by this thread or by levin-sync: both keep SpoolProgress, under SpoolLock. A request
/// that is sent again has the same times and steps, by which the server recognises its values.
class MLFlowUploader {
 public:
  struct Options {
    std::string tracking_uri, experiment, run_name;
    Seconds timeout = {10};  ///< of a request
  };
  /// `spool` must outlive this.
  MLFlowUploader(Spool& spool, Options options);
  /// Ends a request under way.
  ~MLFlowUploader();

  void set_log(const Log& log);
  /// The spool has new lines.
  void notify();
  /// Returns when the server has what the spool has now: true; or after `limit`, or an upload that failed: false. After a false one it
  /// waits again only when the server has everything, unless `last`.
  bool wait(Seconds limit, bool last = false);

 private:
  using Clock = std::chrono::steady_clock;
  using Json = MLFlowClient::Json;
  struct Record {
    Json object;
    int64_t end;  // byte after it
  };

  void serve();
  bool is_cancelled();
  bool try_upload();
  bool upload_again_if_lost();
  bool upload();
  void open_run(SpoolProgress& progress);
  std::vector<Record> parse(const std::string& lines, int64_t begin);
  void send(const std::vector<Record>& records, SpoolProgress& progress);
  void send_params(const Json& record);
  void send_media(const Json& record);
  void put_artifact(const std::string& path, const std::string& bytes);
  void send_end(const Json& record);
  void send_entries(const std::string& kind, const Json& entries, size_t most);
  void send_valid(const std::string& kind, const Json& entries);
  void begin_sending();
  void confirm(SpoolProgress& progress, int64_t bytes);
  void warn_once(bool& warned, const std::string& message);
  void note(const std::string& message);

  Spool& spool_;
  const Options options_;
  MLFlowClient client_;
  // The thread's.
  std::optional<MLFlowClient::Run> run_;
  std::optional<SpoolProgress> unsaved_;
  int artifact_failures_ = 0;  ///< in a row
  bool warned_of_failure_ = false, warned_of_refusal_ = false, warned_of_artifacts_ = false, warned_of_progress_ = false;

  std::mutex mutex_;
  std::condition_variable changed_, attempted_;
  Log log_;
  bool news_ = false, urgent_ = false, ends_ = false, failing_ = false, impatient_ = false;
  int64_t attempts_ = 0, confirmed_ = 0;
  std::thread thread_;
};

}  // namespace levin::detail
