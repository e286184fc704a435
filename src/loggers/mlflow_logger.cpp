#include "levin/loggers/mlflow_logger.h"

#include <algorithm>
#include <exception>

#include "levin/core/error.h"
#include "logger_fields.h"
#include "mlflow_uploader.h"

namespace levin {
namespace {

constexpr Seconds longest_wait_of_state{5};    // the training waits
constexpr Seconds longest_wait_of_failure{3};  // the other ranks wait, and end the job if rank 0 does not

bool is_server(const std::string& tracking_uri) { return tracking_uri.starts_with("http://") || tracking_uri.starts_with("https://"); }

const std::string& checked_uri(const MLFlowLoggerConfig& config) {
  check_config(config);
  const auto& uri = config.tracking_uri;
  const auto host = uri.find("://");
  if (is_server(uri) && uri.substr(host + 3, uri.find('/', host + 3) - host - 3).find('@') != std::string::npos)
    throw ConfigError("tracking_uri has a user name or password, which the files of the run would show",
                      "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead", "loggers");
  return uri;
}

}  // namespace

MLFlowLogger::MLFlowLogger(const MLFlowLoggerConfig& config, const std::filesystem::path& folder)
    : SpoolLogger("mlflow", detail::save_folder(config.save_dir, folder), config.run_name, config.prefix,
                  {{"experiment_name", config.experiment_name}, {"tracking_uri", checked_uri(config)}}, {}),
      timeout_(config.timeout) {
  if (!is_server(config.tracking_uri)) return;
  const auto name = spool().run().at("settings").value("name", "");
  uploader_ = std::make_unique<detail::MLFlowUploader>(
      spool(), detail::MLFlowUploader::Options{config.tracking_uri, config.experiment_name, name, config.timeout});
}

MLFlowLogger::~MLFlowLogger() {
  if (!open()) return;
  try {
    MLFlowLogger::finalize();
  } catch (const std::exception&) {  // a spool that cannot be written was reported
  }
}

void MLFlowLogger::set_log(const Log& log) {
  SpoolLogger::set_log(log);
  log_ = log;
  if (uploader_) uploader_->set_log(log);
}

void MLFlowLogger::spooled() {
  if (uploader_) uploader_->notify();
}

StateDict MLFlowLogger::state_dict() {
  auto state = SpoolLogger::state_dict();
  if (uploader_) uploader_->wait(std::min(timeout_, longest_wait_of_state));
  return state;
}

void MLFlowLogger::finalize() {
  SpoolLogger::finalize();
  if (!uploader_ || uploader_->wait(end() == RunEnd::failed ? std::min(timeout_, longest_wait_of_failure) : timeout_, /*last=*/true))
    return;
  log_.info("[loggers] MLflow does not have all values; upload the rest with levin-sync, or resume the run: {}", spool().path().string());
}

}  // namespace levin
