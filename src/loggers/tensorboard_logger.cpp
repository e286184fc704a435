#include "levin/loggers/tensorboard_logger.h"

#include <event.pb.h>

#include "event_file.h"
#include "json_values.h"
#include "logger_fields.h"

namespace levin {
namespace {

const std::string epoch_tag = "epoch";  // the trainer's, so a metric of this name needs another tag

tensorboard::Event new_event(int64_t step = 0) {
  tensorboard::Event event;
  event.set_wall_time(detail::wall_time());
  event.set_step(step);
  return event;
}

void add_scalar(tensorboard::Summary& summary, const std::string& tag, double value) {
  auto& scalar = *summary.add_value();
  scalar.set_tag(tag);
  scalar.set_simple_value(static_cast<float>(value));
}

}  // namespace

TensorBoardLogger::TensorBoardLogger(const TensorBoardLoggerConfig& config, const std::filesystem::path& folder)
    : prefix_(detail::name_prefix(config.prefix)) {
  check_config(config);
  file_ = std::make_unique<detail::EventFile>(detail::save_folder(config.save_dir, folder), config.flush_interval);
  auto event = new_event();
  event.set_file_version("brain.Event:2");
  file_->write(event.SerializeAsString());
  file_->flush();
}

TensorBoardLogger::~TensorBoardLogger() {
  std::error_code unseen;
  if (!used_) std::filesystem::remove(file_->path(), unseen);
}

void TensorBoardLogger::begin_training(int64_t step) {
  auto event = new_event(step);
  event.mutable_session_log()->set_status(tensorboard::SessionLog::START);
  file_->write(event.SerializeAsString());
  file_->flush();
  used_ = true;
}

void TensorBoardLogger::log_metrics(const NamedValues& values, int64_t epoch, int64_t step) {
  used_ = true;
  auto event = new_event(step);
  auto& summary = *event.mutable_summary();
  for (const auto& [name, value] : values) add_scalar(summary, prefix_ + (name == epoch_tag ? "metrics/" + name : name), value);
  add_scalar(summary, prefix_ + epoch_tag, static_cast<double>(epoch));
  file_->write(event.SerializeAsString());
}

void TensorBoardLogger::log_hyperparams(const std::string& yaml) {
  auto event = new_event();
  auto& value = *event.mutable_summary()->add_value();
  value.set_tag(prefix_ + "config");
  auto& metadata = *value.mutable_metadata();
  metadata.mutable_plugin_data()->set_plugin_name("text");
  metadata.set_data_class(tensorboard::DATA_CLASS_TENSOR);
  auto& tensor = *value.mutable_tensor();
  tensor.set_dtype(tensorboard::DT_STRING);
  tensor.mutable_tensor_shape()->add_dim()->set_size(1);
  tensor.add_string_val("```yaml\n" + yaml + (yaml.ends_with('\n') ? "" : "\n") + "```");  // TensorBoard reads Markdown
  file_->write(event.SerializeAsString());
}

// What a run resumes after is in the file, though the run be killed right after the checkpoint.
StateDict TensorBoardLogger::state_dict() {
  file_->flush();
  return {};
}

void TensorBoardLogger::finalize() { file_->flush(); }

const std::filesystem::path& TensorBoardLogger::file() const noexcept { return file_->path(); }

}  // namespace levin
