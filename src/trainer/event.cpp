#include "levin/trainer/event.h"

#include <fmt/format.h>

#include <utility>

#include "levin/core/error.h"
#include "levin/trainer/trainer.h"

namespace levin {
namespace {

class EventCallback : public Callback {
 public:
  EventCallback(Event event, int64_t every, std::function<void(Trainer&)> function)
      : event_(event), every_(every), function_(std::move(function)) {}

  // Then the values of the epoch or step are known.
  bool monitors() const override { return event_ == Event::train_epoch_end || event_ == Event::step; }
  std::string state_key() const override { return fmt::format("Event {} {}", static_cast<int>(event_), every_); }
  StateDict state_dict() const override {
    StateDict state;
    if (every_ > 1) state.set("count", count_);
    return state;
  }
  void load_state_dict(const StateDict& state) override { count_ = state.get<int64_t>("count"); }

  void setup(Stage) override { count_ = 0, checking_ = false; }
  void on_fit_start() override {
    last_step_ = trainer().global_step();
    occurred(Event::fit_start);
  }
  void on_fit_end() override { occurred(Event::fit_end); }
  void on_sanity_check_start() override { checking_ = true; }
  void on_sanity_check_end() override { checking_ = false; }
  void on_train_start() override {
    last_step_ = trainer().global_step();
    occurred(Event::train_start);
  }
  void on_train_end() override { occurred(Event::train_end); }
  void on_train_epoch_start() override { reached(Event::train_epoch_start, trainer().current_epoch() + 1); }
  void on_train_epoch_end() override { reached(Event::train_epoch_end, trainer().current_epoch() + 1); }
  void on_train_batch_start(const Batch&, int64_t) override { occurred(Event::train_batch_start); }
  void on_train_batch_end(const Tensor&, const Batch&, int64_t) override {
    occurred(Event::train_batch_end);
    const int64_t step = trainer().global_step();
    if (std::exchange(last_step_, step) != step) reached(Event::step, step);
  }
  void on_validation_start() override { occurred(Event::validation_start); }
  void on_validation_end() override { occurred(Event::validation_end); }
  void on_test_start() override { occurred(Event::test_start); }
  void on_test_end() override { occurred(Event::test_end); }
  void on_predict_start() override { occurred(Event::predict_start); }
  void on_predict_end() override { occurred(Event::predict_end); }

 private:
  void reached(Event event, int64_t number) {
    if (event == event_ && number % every_ == 0) function_(trainer());
  }
  void occurred(Event event) {
    if (event == event_ && !checking_) reached(event, ++count_);
  }

  Event event_;
  int64_t every_;
  std::function<void(Trainer&)> function_;
  int64_t count_ = 0, last_step_ = 0;
  bool checking_ = false;
};

}  // namespace

std::shared_ptr<Callback> make_event_callback(Event event, const EventOptions& options, std::function<void(Trainer&)> function) {
  if (options.every < 1)
    throw UsageError("trainer", fmt::format("every is {}", options.every), "count occurrences of an event by 1 or more");
  if (!function) throw UsageError("trainer", "Trainer::on got an empty function", "give a function of the trainer, or of nothing");
  return std::make_shared<EventCallback>(event, options.every, std::move(function));
}

}  // namespace levin
