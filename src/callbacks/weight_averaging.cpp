#include "levin/callbacks/weight_averaging.h"

#include <ATen/TensorOperators.h>

#include <algorithm>

#include "levin/core/error.h"
#include "levin/trainer/trainer.h"

namespace levin {

WeightAveraging::WeightAveraging(const WeightAveragingConfig& config) : use_buffers_(config.use_buffers) {}

void WeightAveraging::setup(Stage stage) {
  latest_update_step_ = 0;
  latest_update_epoch_ = -1;
  const auto& callbacks = trainer().callbacks();
  const auto averaging = std::count_if(callbacks.begin(), callbacks.end(), [](const auto& callback) {
    return dynamic_cast<const WeightAveraging*>(callback.get()) != nullptr;
  });
  if (averaging > 1) throw ConfigError(fmt::format("{} callbacks average the weights", averaging), "keep one", "callbacks");
  averages_ = stage == Stage::fit ? std::make_shared<AveragedParameters>(/*as_model=*/true, use_buffers_) : nullptr;
  trainer().session().set_averages(averages_);
}

// The model keeps the averages, also of a training that was complete before.
void WeightAveraging::teardown(Stage) {
  if (averages_ && ends_as_average()) averages_->show(trainer().session());
  trainer().session().set_averages(nullptr);
  averages_.reset();
}

void WeightAveraging::average(Tensor& average, const Tensor& current, int64_t n_averaged) const {
  average.lerp_(current, 1.0 / static_cast<double>(n_averaged + 1));
}

void WeightAveraging::update() {
  averages_->update(trainer().session(), [this](Tensor& kept, const Tensor& current) { average(kept, current, n_averaged()); });
}

void WeightAveraging::on_train_batch_end(const Tensor&, const Batch&, int64_t) {
  const int64_t step = trainer().global_step();
  if (step <= latest_update_step_ || !should_update(step - 1, {})) return;
  update();
  latest_update_step_ = step;
}

void WeightAveraging::on_train_epoch_end() {
  const int64_t epoch = trainer().current_epoch();
  if (epoch <= latest_update_epoch_ || !should_update({}, epoch)) return;
  update();
  latest_update_epoch_ = epoch;
}

void WeightAveraging::on_validation_epoch_start() {
  if (averages_) averages_->show(trainer().session());
}

void WeightAveraging::on_validation_epoch_end() {
  if (averages_) averages_->hide(trainer().session());
}

void WeightAveraging::on_train_end() { averages_->show(trainer().session()); }

StateDict WeightAveraging::state_dict() const {
  StateDict state;
  state.set("latest_update_step", latest_update_step_);
  state.set("latest_update_epoch", latest_update_epoch_);
  return state;
}

void WeightAveraging::load_state_dict(const StateDict& state) {
  if (!averages_ || !averages_->started()) return;  // the checkpoint has no averages yet
  latest_update_step_ = state.get<int64_t>("latest_update_step");
  latest_update_epoch_ = state.get<int64_t>("latest_update_epoch");
}

}  // namespace levin
