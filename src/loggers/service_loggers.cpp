#include "levin/loggers/service_loggers.h"

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

}  // namespace

SpoolLogger::SpoolLogger(const std::string& service, const std::filesystem::path& folder, const std::string& name,
                         const std::string& prefix, const Settings& settings, const std::vector<std::string>& tags)
    : prefix_(detail::name_prefix(prefix)) {
  nlohmann::ordered_json object = {{"name", name.empty() ? run_name(folder) : name}};
  for (const auto& [key, value] : settings) object[key] = value;
  object["tags"] = tags;
  spool_ = std::make_unique<detail::Spool>(folder, service, std::move(object), spool_flush_interval);
}

SpoolLogger::~SpoolLogger() = default;

void SpoolLogger::log_metrics(const NamedValues& values, int64_t epoch, int64_t step) {
  spool_->metrics(detail::json_values(values, prefix_), epoch, step);
}

void SpoolLogger::log_hyperparams(const std::string& yaml) { spool_->params(yaml); }

void SpoolLogger::begin_training(int64_t step) { spool_->start(step); }

StateDict SpoolLogger::state_dict() {
  spool_->flush();
  return {};
}

void SpoolLogger::finalize() { spool_->end(); }

WandbLogger::WandbLogger(const WandbLoggerConfig& config, const std::filesystem::path& folder)
    : SpoolLogger("wandb", detail::save_folder(config.save_dir, folder), config.run_name, config.prefix,
                  {{"project", config.project}, {"entity", config.entity}, {"group", config.group}}, config.tags) {}

MLFlowLogger::MLFlowLogger(const MLFlowLoggerConfig& config, const std::filesystem::path& folder)
    : SpoolLogger("mlflow", detail::save_folder(config.save_dir, folder), config.run_name, config.prefix,
                  {{"experiment_name", config.experiment_name}, {"tracking_uri", config.tracking_uri}}, {}) {}

CometLogger::CometLogger(const CometLoggerConfig& config, const std::filesystem::path& folder)
    : SpoolLogger("comet", detail::save_folder(config.save_dir, folder), config.run_name, config.prefix,
                  {{"project", config.project}, {"workspace", config.workspace}}, config.tags) {}

NeptuneLogger::NeptuneLogger(const NeptuneLoggerConfig& config, const std::filesystem::path& folder)
    : SpoolLogger("neptune", detail::save_folder(config.save_dir, folder), config.run_name, config.prefix, {{"project", config.project}},
                  config.tags) {}

}  // namespace levin
