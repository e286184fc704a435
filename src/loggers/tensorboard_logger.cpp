#include "levin/loggers/tensorboard_logger.h"

#include <event.pb.h>

#include <utility>
#include <variant>
#include <vector>

#include "event_file.h"
#include "flat_options.h"
#include "histogram.h"
#include "json_values.h"
#include "logger_fields.h"
#include "png.h"

namespace levin {

struct detail::HyperParameters {
  std::vector<std::pair<std::string, FlatOption>> options;
  bool written = false;
};

namespace {

const std::string images = "images", histograms = "histograms", texts = "text";  // plugins
const std::string scalars = "scalars";
const std::string epoch_tag = "epoch";  // the trainer's, so a metric of this name needs another tag

tensorboard::Event new_event(int64_t step = 0, double time = detail::wall_time()) {
  tensorboard::Event event;
  event.set_wall_time(time);
  event.set_step(step);
  return event;
}

void add_scalar(tensorboard::Summary& summary, const std::string& tag, double value) {
  auto& scalar = *summary.add_value();
  scalar.set_tag(tag);
  scalar.set_simple_value(static_cast<float>(value));
}

// A tensor for the plugin whose page shows it. Its dtype and values are the caller's.
tensorboard::TensorProto& add_tensor(tensorboard::Event& event, const std::string& tag, const std::string& plugin,
                                     const std::vector<int64_t>& shape, const std::string& content = {}) {
  auto& value = *event.mutable_summary()->add_value();
  value.set_tag(tag);
  auto& metadata = *value.mutable_metadata();
  metadata.mutable_plugin_data()->set_plugin_name(plugin);
  metadata.mutable_plugin_data()->set_content(content);
  metadata.set_data_class(plugin == images ? tensorboard::DATA_CLASS_BLOB_SEQUENCE : tensorboard::DATA_CLASS_TENSOR);
  auto& tensor = *value.mutable_tensor();
  tensor.mutable_tensor_shape();
  for (const auto size : shape) tensor.mutable_tensor_shape()->add_dim()->set_size(size);
  return tensor;
}

// Without values: the plugin's page reads the content alone.
std::string hparams_event(const char* tag, const tensorboard::HParamsPluginData& content) {
  auto event = new_event();
  add_tensor(event, std::string("_hparams_/") + tag, "hparams", {0}, content.SerializeAsString()).set_dtype(tensorboard::DT_FLOAT);
  return event.SerializeAsString();
}

std::string text_event(const std::string& tag, const std::string& text, int64_t step, double time = detail::wall_time()) {
  auto event = new_event(step, time);
  auto& tensor = add_tensor(event, tag, texts, {1});
  tensor.set_dtype(tensorboard::DT_STRING);
  tensor.add_string_val(text);
  return event.SerializeAsString();
}

}  // namespace

TensorBoardLogger::TensorBoardLogger(const TensorBoardLoggerConfig& config, const std::filesystem::path& folder)
    : prefix_(detail::name_prefix(config.prefix)), hyper_parameters_(std::make_unique<detail::HyperParameters>()) {
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
  const std::lock_guard lock(mutex_);
  file_->write(event.SerializeAsString());
  write_hyper_parameters();
  file_->flush();
  used_ = true;
}

void TensorBoardLogger::log_metrics(const NamedValues& values, int64_t epoch, int64_t step) {
  auto event = new_event(step);
  auto& summary = *event.mutable_summary();
  for (const auto& [name, value] : values) add_scalar(summary, tag_of(name == epoch_tag ? "metrics/" + name : name, scalars), value);
  add_scalar(summary, prefix_ + epoch_tag, static_cast<double>(epoch));
  write(event.SerializeAsString());
}

std::string TensorBoardLogger::tag_of(const std::string& name, const std::string& kind) {
  auto tag = prefix_ + name;
  const std::lock_guard lock(mutex_);
  return kinds_.emplace(tag, kind).first->second == kind ? tag : tag + "/" + kind;
}

void TensorBoardLogger::write(const std::string& event) {
  const std::lock_guard lock(mutex_);
  used_ = true;
  file_->write(event);  // which is kept if what follows fails
  write_hyper_parameters();
}

void TensorBoardLogger::log_hyperparams(const std::string& yaml) {
  const std::lock_guard lock(mutex_);
  for (auto& option : detail::flat_options(yaml)) hyper_parameters_->options.push_back(std::move(option));
  const auto shown = "```yaml\n" + yaml + (yaml.ends_with('\n') ? "" : "\n") + "```";  // TensorBoard reads Markdown
  file_->write(text_event(prefix_ + "config", shown, 0));
}

// Without an "experiment", of which TensorBoard reads one in a directory of many runs: it gathers the names from all runs itself, and takes
// their scalars for metrics.
void TensorBoardLogger::write_hyper_parameters() {
  auto& [options, written] = *hyper_parameters_;
  if (options.empty() || std::exchange(written, true)) return;
  tensorboard::HParamsPluginData content;
  auto& info = *content.mutable_session_start_info();
  info.set_start_time_secs(detail::wall_time());
  for (const auto& [name, option] : options) {
    auto& value = (*info.mutable_hparams())[name];
    if (const auto* number = std::get_if<double>(&option.value))
      value.set_number_value(*number);
    else if (const auto* truth = std::get_if<bool>(&option.value))
      value.set_bool_value(*truth);
    else
      value.set_string_value(option.text);
  }
  file_->write(hparams_event("session_start_info", content));
}

void TensorBoardLogger::write_text(const Entry& entry, const std::string& text) {
  write(text_event(tag_of(entry.name, texts), text, entry.step, entry.time));
}

void TensorBoardLogger::write_histogram(const Entry& entry, const std::vector<detail::HistogramBucket>& buckets) {
  auto event = new_event(entry.step, entry.time);
  auto& tensor = add_tensor(event, tag_of(entry.name, histograms), histograms, {static_cast<int64_t>(buckets.size()), 3});
  tensor.set_dtype(tensorboard::DT_DOUBLE);
  for (const auto& [left, right, count] : buckets)
    for (const double number : {left, right, count}) tensor.add_double_val(number);
  write(event.SerializeAsString());
}

// The tensor of an image has its width and height, as texts, and the bytes of a PNG file.
void TensorBoardLogger::write_image(const Entry& entry, const detail::PngImage& image) {
  auto event = new_event(entry.step, entry.time);
  auto& tensor = add_tensor(event, tag_of(entry.name, images), images, {3});
  tensor.set_dtype(tensorboard::DT_STRING);
  tensor.add_string_val(std::to_string(image.width));
  tensor.add_string_val(std::to_string(image.height));
  tensor.add_string_val(image.bytes);
  write(event.SerializeAsString());
}

// What a run resumes after is in the file, though the run be killed right after the checkpoint.
StateDict TensorBoardLogger::state_dict() {
  const std::lock_guard lock(mutex_);
  file_->flush();
  return {};
}

// TensorBoard keeps the first end that it reads, so only the good end of a training is noted: others may resume.
void TensorBoardLogger::finalize() {
  const std::lock_guard lock(mutex_);
  if (used_ && hyper_parameters_->written && end_ == RunEnd::finished) {
    tensorboard::HParamsPluginData content;
    content.mutable_session_end_info()->set_status(tensorboard::SessionEndInfo::STATUS_SUCCESS);
    content.mutable_session_end_info()->set_end_time_secs(detail::wall_time());
    file_->write(hparams_event("session_end_info", content));
  }
  file_->flush();
}

const std::filesystem::path& TensorBoardLogger::file() const noexcept { return file_->path(); }

}  // namespace levin
