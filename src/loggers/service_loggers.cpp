#include "levin/loggers/service_loggers.h"

#include "logger_fields.h"

namespace levin {

WandbLogger::WandbLogger(const WandbLoggerConfig& config, const std::filesystem::path& folder)
    : SpoolLogger("wandb", detail::save_folder(config.save_dir, folder), config.run_name, config.prefix,
                  {{"project", config.project}, {"entity", config.entity}, {"group", config.group}}, config.tags) {}

CometLogger::CometLogger(const CometLoggerConfig& config, const std::filesystem::path& folder)
    : SpoolLogger("comet", detail::save_folder(config.save_dir, folder), config.run_name, config.prefix,
                  {{"project", config.project}, {"workspace", config.workspace}}, config.tags) {}

NeptuneLogger::NeptuneLogger(const NeptuneLoggerConfig& config, const std::filesystem::path& folder)
    : SpoolLogger("neptune", detail::save_folder(config.save_dir, folder), config.run_name, config.prefix, {{"project", config.project}},
                  config.tags) {}

}  // namespace levin
