#include "levin/callbacks/model_checkpoint.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <optional>
#include <vector>

#include "checkpoint_location.h"
#include "epoch_end_checks.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/retention.h"
#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"
#include "levin/session/monitored_value.h"
#include "levin/trainer/trainer.h"

namespace levin {
namespace {

constexpr const char* score_field = "score";
constexpr Seconds first_interval{30};  // of auto, until it is known what a checkpoint costs

// The newest as they are on disk, with those of earlier starts.
std::vector<KeptCheckpoint> kept_in(const std::filesystem::path& folder, const std::string& monitor) {
  std::vector<KeptCheckpoint> kept;
  for (const auto& [path, manifest] : list_checkpoints(folder).checkpoints) {
    KeptCheckpoint checkpoint{path.filename(), manifest.step, {}};
    const auto of = manifest.fields.find("monitor"), score = manifest.fields.find(score_field);
    if (of != manifest.fields.end() && of->second == monitor && score != manifest.fields.end())
      checkpoint.score = parse_number<double>(score->second);
    kept.push_back(std::move(checkpoint));
  }
  return kept;
}

// The literal text of a filename and its fields, alternately.
struct Field {
  std::string key, spec;
};
struct FilenamePart {
  std::string text;
  std::optional<Field> field;  // behind the text
};

std::vector<FilenamePart> parts_of(const std::string& filename) {
  std::vector<FilenamePart> parts;
  for (size_t at = 0; at < filename.size();) {
    const size_t open = filename.find('{', at), close = filename.find('}', open);
    parts.push_back({filename.substr(at, open - at), {}});
    if (parts.back().text.find('}') != std::string::npos)
      throw ConfigError(fmt::format("filename \"{}\" has a }} without a {{", filename), "write fields as {epoch} or {val_loss:.3f}",
                        "callbacks");
    if (open == std::string::npos) break;
    if (close == std::string::npos)
      throw ConfigError(fmt::format("filename \"{}\" has a {{ without a }}", filename), "write fields as {epoch} or {val_loss:.3f}",
                        "callbacks");
    const auto field = filename.substr(open + 1, close - open - 1);
    const size_t colon = field.find(':');
    parts.back().field = {field.substr(0, colon), colon == std::string::npos ? std::string() : field.substr(colon + 1)};
    at = close + 1;
  }
  return parts;
}

std::string formatted(const std::string& name, const std::string& spec, const NamedValues& values, int64_t epoch, int64_t step) {
  const auto format = "{:" + spec + "}";
  try {
    if (name == "epoch") return fmt::format(fmt::runtime(format), epoch);
    if (name == "step") return fmt::format(fmt::runtime(format), step);
    if (const double* value = find_value(values, name))
      return fmt::format(fmt::runtime(format), std::isnan(*value) ? std::nan("") : *value);  // never -nan
  } catch (const std::exception& error) {
    throw ConfigError(fmt::format("filename has {{{}:{}}}: {}", name, spec, error.what()),
                      "give a format such as .3f, or for whole numbers 04d", "callbacks");
  }
  throw ConfigError(fmt::format("filename has {{{}}}, which was not logged", name),
                    fmt::format("use epoch, step{}{}", values.empty() ? "" : ", ", names_of(values)), "callbacks");
}

// With values as long as usual ones can be.
void check_filename(const ModelCheckpointConfig& config) {
  if (config.filename.empty()) return;
  NamedValues values;
  for (const auto& part : parts_of(config.filename))
    if (part.field && part.field->key != "epoch" && part.field->key != "step") values.emplace_back(part.field->key, -12345.678901234567);
  constexpr int64_t long_number = 999'999'999;
  const auto name = ModelCheckpoint::full_name(config, values, long_number, long_number);
  if (!is_checkpoint_name(name))
    throw ConfigError(
        fmt::format("filename \"{}\" gives names such as {}, which are not valid for checkpoints", config.filename, quote(name)),
        "give one of at most 200 bytes that does not begin with a dot or abandoned-, and is not last", "callbacks");
}

}  // namespace

void ModelCheckpointConfig::validate() const {
  check_filename(*this);
  const int ways = every_n_train_steps.has_value() + train_time_interval.has_value() + every_n_epochs.has_value();
  if (ways > 1)
    throw ConfigError("every_n_train_steps, train_time_interval and every_n_epochs exclude each other", "give one of them", "callbacks");
  if (!std::has_single_bit(static_cast<uint64_t>(alignment.value)))
    throw ConfigError(fmt::format("alignment is {}", alignment.to_text()), "give a power of two from 4096 on, such as 1 MiB", "callbacks");
  if (!monitor && save_top_k > 1)
    throw ConfigError(fmt::format("save_top_k is {} without a monitor", save_top_k), "name a metric, or give 1, 0 or -1", "callbacks");
}

ModelCheckpoint::ModelCheckpoint(ModelCheckpointConfig config) : config_(std::move(config)) {
  check_config(config_);
  if (!config_.dirpath.empty()) config_.dirpath = std::filesystem::absolute(config_.dirpath);
}

std::vector<std::string> ModelCheckpoint::required_metrics() const {
  std::vector<std::string> names;
  if (folder_.empty()) return names;
  if (config_.monitor) names.push_back(*config_.monitor);
  for (const auto& part : parts_of(config_.filename))
    if (part.field && part.field->key != "epoch" && part.field->key != "step") names.push_back(part.field->key);
  return names;
}

void ModelCheckpoint::setup(Stage stage) {
  training_ = false;
  if (stage != Stage::fit || config_.save_top_k == 0 || trainer().config().fast_dev_run.batches > 0) return;
  folder_ = detail::checkpoint_location(trainer(), config_.dirpath, "a ModelCheckpoint");
  for (const auto& callback : trainer().callbacks())
    if (const auto* other = dynamic_cast<const ModelCheckpoint*>(callback.get()); other && other != this && other->folder_ == folder_)
      throw ConfigError(fmt::format("two ModelCheckpoints write to {}", folder_.string()), "set a different dirpath for each", "callbacks");
  auto& checkpoints = trainer().checkpoints();
  const std::filesystem::path for_stops = checkpoints.folder().empty() && !config_.save_weights_only ? folder_ : checkpoints.folder();
  checkpoints.use(folder_,
                  {.alignment = static_cast<uint64_t>(config_.alignment.value),
                   .staging_directory = config_.staging_directory,
                   .nodes_per_file = config_.nodes_per_file,
                   .mpi_io_hints = config_.mpi_io_hints});  // opened here, one that cannot be written is found before the first step
  checkpoints.use(for_stops);
  if (!config_.save_weights_only) checkpoints.add_resumable(folder_);
  if (config_.save_on_exception)
    checkpoints.request_on_exception({.folder = folder_, .name = {}, .weights_only = config_.save_weights_only});
}

void ModelCheckpoint::on_train_start() {
  training_ = !folder_.empty();
  validated_ = names_are_known_ = pending_ = false;
  requested_step_ = trainer().global_step();  // what a run resumes from is there already
  requested_at_ = Clock::now();
  const bool automatic = config_.every_n_train_steps && !config_.every_n_train_steps->value;
  interval_ = automatic ? first_interval : config_.train_time_interval;
}

Seconds ModelCheckpoint::best_interval(Seconds cost, Seconds mtbf) {
  const double part = cost.value / (2 * mtbf.value);
  if (part >= 1) return mtbf;
  return {std::sqrt(2 * cost.value * mtbf.value) * (1 + std::sqrt(part) / 3 + part / 9) - cost.value};
}

// The request travels with the step that begins here, so that all ranks have it at its end.
void ModelCheckpoint::on_train_batch_start(const Batch&, int64_t) {
  if (!training_ || !interval_) return;
  auto& session = trainer().session();
  if (session.checkpoint_wanted()) session.forget_checkpoint();  // by now all have seen it
  if (session.rank() == 0 && std::chrono::duration<double>(Clock::now() - requested_at_).count() >= interval_->value)
    session.request_checkpoint();
}

void ModelCheckpoint::on_train_batch_end(const Tensor&, const Batch&, int64_t) {
  if (!training_) return;
  const bool by_time = interval_ && trainer().session().checkpoint_wanted();
  const auto steps = config_.every_n_train_steps ? config_.every_n_train_steps->value : std::nullopt;
  if (by_time || (steps && trainer().global_step() % *steps == 0)) request(Interval::step);
}

bool ModelCheckpoint::at_epoch_end() const { return detail::checks_at_epoch_end(trainer(), config_.save_on_train_epoch_end); }

// Then it may have none of the epoch's metrics.
bool ModelCheckpoint::epoch_was_cut_short() const {
  const auto [done, total] = trainer().batch_progress();
  const int64_t max_steps = trainer().config().max_steps;
  return done != total && (trainer().session().should_stop() || (max_steps >= 0 && trainer().global_step() >= max_steps));
}

// A metric that is not logged is refused when all others are known, not when the first checkpoint is due.
void ModelCheckpoint::check_names() {
  if (names_are_known_ || epoch_was_cut_short() || (trainer().validates() && !validated_)) return;
  names_are_known_ = true;
  const auto values = this->values(Interval::epoch);
  if (!config_.filename.empty()) full_name(config_, values, trainer().current_epoch(), trainer().global_step());
  if (config_.monitor && !find_value(values, *config_.monitor))
    throw ConfigError(fmt::format("ModelCheckpoint monitors \"{}\", which was not logged", *config_.monitor),
                      values.empty() ? "log it in validation_step" : "monitor one of those that were: " + names_of(values), "callbacks");
}

void ModelCheckpoint::at_an_epochs_validation(Interval newest) {
  if (!training_ || by_steps_or_time()) return;
  if ((trainer().current_epoch() + 1) % config_.every_n_epochs.value_or(1) != 0) return;
  if (newest == Interval::epoch) requested_step_ = -1;  // a run stopped after the epoch's last step has ended the epoch only now
  request(newest);
}

void ModelCheckpoint::on_train_epoch_end() {
  if (!training_) return;
  check_names();
  if (at_epoch_end()) at_an_epochs_validation(Interval::epoch);
}

void ModelCheckpoint::on_validation_end() {
  if (!training_) return;
  validated_ = true;
  if (!at_epoch_end()) at_an_epochs_validation(Interval::step);
}

// Saves the steps since the last checkpoint and the reason for the end.
void ModelCheckpoint::on_train_end() {
  const bool ends = training_ && saves_the_end();
  if (ends) {
    requested_step_ = -1;
    request(Interval::epoch);
  }
  training_ = false;
}

bool ModelCheckpoint::saves_the_end() const {
  auto& checkpoints = trainer().checkpoints();
  if (trainer().session().must_exit() || trainer().global_step() == 0 || checkpoints.has_end(folder_)) return false;
  return checkpoints.folder().empty() || checkpoints.folder() == folder_;
}

NamedValues ModelCheckpoint::values(Interval newest) const {
  NamedValues values = trainer().report().metrics;
  const auto add = [&](const std::string& name) {
    if (find_value(values, name)) return;
    if (const double* found = find_monitored(values, name, newest)) {
      const double value = *found;
      values.emplace_back(name, value);
    }
  };
  if (config_.monitor) add(*config_.monitor);
  for (const auto& part : parts_of(config_.filename))
    if (part.field) add(part.field->key);
  return values;
}

// The validation of a step comes after its request, and that within an accumulation before the step that is saved.
void ModelCheckpoint::request(Interval newest) {
  const int64_t step = trainer().global_step();
  if (std::exchange(requested_step_, step) == step) return;  // the step of an accumulation's next batches
  requested_at_ = Clock::now();
  newest_ = newest;
  epoch_ = trainer().current_epoch();
  if (std::exchange(pending_, true)) return;
  trainer().checkpoints().request({.folder = folder_,
                                   .name = {},
                                   .weights_only = config_.save_weights_only,
                                   .in_background = config_.in_background,
                                   .describe = [this](CheckpointRequest& saved, int64_t saved_step) { describe(saved, saved_step); },
                                   .done = [this](const SaveReport& report) { committed(report); }});
}

void ModelCheckpoint::describe(CheckpointRequest& saved, int64_t step) {
  pending_ = false;
  const auto values = this->values(newest_);
  saved.name = name_of(values, step);
  if (!config_.monitor) return;
  saved.fields["monitor"] = *config_.monitor;
  saved.fields["mode"] = config_.mode == MonitorMode::min ? "min" : "max";
  if (const double* score = find_value(values, *config_.monitor))  // some come before the first validation
    saved.fields[score_field] = value_text(*score);
}

std::string ModelCheckpoint::full_name(const ModelCheckpointConfig& config, const NamedValues& values, int64_t epoch, int64_t step) {
  auto name = Checkpoints::name_of_step(step);
  if (config.filename.empty()) return name;
  const auto own = format_name(config.filename, values, epoch, step, config.auto_insert_metric_name);
  return config.filename.find("{step") != std::string::npos ? own : name + "-" + own;
}

// Metrics that are not there yet, and values of unusual length, cost the name and not the checkpoint.
std::string ModelCheckpoint::name_of(const NamedValues& values, int64_t step) const {
  std::string name;
  try {
    name = full_name(config_, values, epoch_, step);
  } catch (const ConfigError&) {
    if (names_are_known_) throw;
  }
  return is_checkpoint_name(name) ? name : Checkpoints::name_of_step(step);
}

void ModelCheckpoint::committed(const SaveReport& report) {
  last_ = report.path;
  auto& session = trainer().session();
  const auto& log = session.runtime().log();
  if (config_.verbose)
    log.info("[callbacks] {} is committed: {:.4g} MB in {:.3g} s, of which the training waited {:.3g} s", report.path.string(),
             static_cast<double>(report.bytes) / 1e6, report.seconds, report.blocked_seconds);
  if (session.rank() != 0) return;
  if (config_.every_n_train_steps && !config_.every_n_train_steps->value) {
    const Seconds cost{report.in_background ? report.blocked_seconds : report.seconds};
    interval_ = best_interval(cost, config_.mtbf);
    if (config_.verbose) log.info("[callbacks] the next checkpoint is due in {:.3g} s", interval_->value);
  }
  const RetentionPolicy policy{.save_top_k = config_.save_top_k, .mode = config_.mode};
  const auto tolerate = [&](const auto& action) {  // rank 0 alone counting it among the failed saves would part from the others
    try {
      action();
    } catch (const IoError& error) {
      log.warning("{}; checkpoints that need not be kept remain", error.what());
    }
  };
  tolerate([&] {
    for (const auto& name : checkpoints_to_remove(kept_in(folder_, config_.monitor.value_or("")), policy))
      tolerate([&] { remove_checkpoint(folder_ / name); });
  });
}

std::string ModelCheckpoint::format_name(const std::string& filename, const NamedValues& values, int64_t epoch, int64_t step,
                                         bool insert_names) {
  std::string name;
  for (const auto& [text, field] : parts_of(filename)) {
    name += text;
    if (field) name += (insert_names ? field->key + "=" : "") + formatted(field->key, field->spec, values, epoch, step);
  }
  for (size_t slash; (slash = name.find('/')) != std::string::npos;) name[slash] = '_';
  return name;
}

}  // namespace levin
