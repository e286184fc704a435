#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>

#include "http_client.h"

namespace levin::detail {

/// The server refused a request, or did not reply (status 0).
struct MLFlowError : std::runtime_error {
  MLFlowError(int64_t status, std::string code, const std::string& message)
      : std::runtime_error(message), status(status), code(std::move(code)) {}
  /// Whether sending the same again would be refused again.
  bool refuses_content() const { return status == 400; }
  /// The server does not know the run, or the experiment.
  bool is_unknown() const { return code == "RESOURCE_DOES_NOT_EXIST"; }
  int64_t status;
  std::string code;  ///< MLflow's, for example RESOURCE_DOES_NOT_EXIST
};

/// Letters and digits of ASCII, _/.-: and spaces stay, and letters of Latin, Greek, Cyrillic, Hebrew, Arabic, Chinese, Japanese and Korean.
/// Other characters, among them all that MLflow refuses, become "_". At most 250 bytes. levin-sync makes the same names.
std::string mlflow_name(const std::string& name);
/// The first `most_bytes` of a text in UTF-8, without a part of a character at the end.
std::string first_bytes(const std::string& text, size_t most_bytes);

/// MLflow's REST API (2.0). Credentials are those that mlflow itself reads: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or
/// MLFLOW_TRACKING_TOKEN; MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH. All calls throw MLFlowError.
class MLFlowClient {
 public:
  using Json = nlohmann::ordered_json;
  /// What the server knows of a run.
  struct Run {
    std::string id, status, artifact_uri;
    bool active = true;            ///< not deleted
    std::set<std::string> params;  ///< their names
  };

  MLFlowClient(const std::string& tracking_uri, Seconds timeout);

  /// The run whose tag levin.id is `id`; it is created, with its experiment, where it does not exist. A reply that was lost thus leaves
  /// no second run. `time`: its start, in milliseconds since 1970.
  Run start_run(const std::string& experiment, const std::string& name, const std::string& id, int64_t time);
  /// Nothing where the server has no such run.
  std::optional<Run> get_run(const std::string& run_id);
  /// RUNNING, or, with the time of the end, FINISHED, FAILED or KILLED.
  void set_status(const Run& run, const std::string& status, std::optional<int64_t> end_time);
  /// `kind`: metrics (at most 1000) or params (at most 100).
  void log_batch(const Run& run, const std::string& kind, const Json& entries);
  /// By the server's proxy. MLFlowError, too, where another place than the server stores the run's artifacts.
  void put_artifact(const Run& run, const std::string& path, const std::string& bytes);
  void cancel() noexcept { http_.cancel(); }

 private:
  Json call(const std::string& method, const std::string& path, const Json& body = nullptr);
  std::string experiment_id(const std::string& name);
  HttpReply send(const std::string& method, const std::string& path, const std::string& body, const std::string& content_type);

  std::string uri_;
  HttpClient http_;
};

}  // namespace levin::detail
