#include "logger_connector.h"

#include <algorithm>

#include "levin/session/session.h"
#include "levin/trainer/logger.h"
#include "levin/trainer/run_report.h"
#include "levin/trainer/trainer_config.h"
#include "queued_logger.h"

namespace levin {

LoggerConnector::LoggerConnector(const TrainerConfig& config, Session& session, const std::vector<std::shared_ptr<Logger>>& loggers,
                                 RunReport& report)
    : config_(config), session_(session), loggers_(loggers), report_(report) {}

LoggerConnector::~LoggerConnector() { pass_end(); }

const std::vector<std::shared_ptr<QueuedLogger>>& LoggerConnector::loggers() {
  while (config_.logger.enabled() && queues_.size() < loggers_.size()) {
    const auto& logger = loggers_[queues_.size()];
    if (auto* aware = dynamic_cast<RunAwareLogger*>(logger.get())) aware->set_log(session_.runtime().log());
    queues_.push_back(std::make_shared<QueuedLogger>(logger, session_.runtime().log()));
  }
  return queues_;
}

void LoggerConnector::drain() {
  for (const auto& logger : loggers()) logger->drain();
}

void LoggerConnector::pass_end() const {
  for (const auto& logger : loggers_)
    if (auto* aware = dynamic_cast<RunAwareLogger*>(logger.get())) aware->set_end(end_);
}

void LoggerConnector::finalize() {
  pass_end();
  for (const auto& logger : loggers()) logger->finalize();
}

bool LoggerConnector::writes() const noexcept { return session_.rank() == 0; }

void LoggerConnector::log_hyperparams(const std::string& yaml) {
  if (!writes()) return;
  for (const auto& logger : loggers()) logger->log_hyperparams(yaml);
}

void LoggerConnector::log_metrics(const NamedValues& values, std::optional<int64_t> step) {
  if (values.empty()) return;
  for (auto* kept : {&report_.metrics, &new_metrics_})
    for (const auto& [name, value] : values) {
      if (double* known = find_value(*kept, name))
        *known = value;
      else
        kept->emplace_back(name, value);
    }
  if (!writes()) return;
  const auto& progress = session_.progress();
  for (const auto& logger : loggers()) logger->log_metrics(values, progress.epoch, step.value_or(std::max<int64_t>(0, progress.step - 1)));
}

}  // namespace levin
