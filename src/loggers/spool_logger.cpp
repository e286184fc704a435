#include "levin/loggers/spool_logger.h"

#include <exception>
#include <nlohmann/json.hpp>

#include "json_values.h"
#include "logger_fields.h"
#include "spool.h"

namespace levin {
namespace {

constexpr Seconds spool_flush_interval{5};

std::string run_name(const std::filesystem::path& folder) {
  const auto name = std::filesystem::absolute(folder).lexically_normal();
  return (name.has_filename() ? name : name.parent_path()).filename().string();
}

const char* name_of(RunEnd end) { return end == RunEnd::finished ? "finished" : end == RunEnd::stopped ? "stopped" : "failed"; }

}  // namespace

SpoolLogger::SpoolLogger(const std::string& service, const std::filesystem::path& folder, const std::string& name,
                         const std::string& prefix, const Settings& settings, const std::vector<std::string>& tags)
    : prefix_(detail::name_prefix(prefix)) {
  nlohmann::ordered_json object = {{"name", name.empty() ? run_name(folder) : name}};
  for (const auto& [key, value] : settings) object[key] = value;
  object["tags"] = tags;
  spool_ = std::make_unique<detail::Spool>(folder, service, std::move(object), spool_flush_interval);
}

SpoolLogger::~SpoolLogger() {
  try {
    if (open_) spool_->end(name_of(end_));
  } catch (const std::exception&) {  // a spool that cannot be written was reported
  }
}

// The spool keeps a record that it cannot write, which needs an end, too.
void SpoolLogger::log_metrics(const NamedValues& values, int64_t epoch, int64_t step) {
  open_ = true;
  spool_->metrics(detail::json_values(values, prefix_), epoch, step);
  spooled();
}

void SpoolLogger::log_hyperparams(const std::string& yaml) { spool_->params(yaml); }

void SpoolLogger::begin_training(int64_t step) {
  open_ = true;
  spool_->start(step);
  spooled();
}

StateDict SpoolLogger::state_dict() {
  spool_->flush();
  return {};
}

void SpoolLogger::finalize() {
  if (!open_ && end_ == RunEnd::failed) return;
  open_ = false;
  spool_->end(name_of(end_));
  spooled();
}

}  // namespace levin
