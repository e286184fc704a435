#include "levin/loggers/line_logger.h"

#include "logger_fields.h"
#include "training_log.h"

namespace levin {

LineLogger::LineLogger(std::unique_ptr<detail::TrainingLog> log, const std::string& prefix)
    : prefix_(detail::name_prefix(prefix)), log_(std::move(log)) {}

LineLogger::~LineLogger() = default;

StateDict LineLogger::state_dict() { return log_->state_dict(); }

void LineLogger::load_state_dict(const StateDict& state) { log_->load_state_dict(state); }

void LineLogger::begin_training(int64_t) { log_->begin_training(); }

void LineLogger::finalize() { log_->flush(); }

}  // namespace levin
