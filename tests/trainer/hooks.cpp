// The hooks of a run come in the order that Lightning's come in, as tests/reference/record_hooks.py recorded it.
#include "levin/trainer/hooks.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/square.h>

#include <fstream>
#include <set>

#include "levin/trainer/manual_optimization.h"
#include "levin_test.h"
#include "test_paths.h"
#include "toy.h"

using levin::Batch;
using levin::Stage;
using levin::Tensor;
using levin::TrainerConfig;

BOOST_AUTO_TEST_SUITE(trainer_hooks)

namespace {

using Events = std::vector<std::string>;

// What is different in Levin, and why.
const std::set<std::string> only_in_lightning{
    // Lightning's optimizer_step wraps a closure with the whole step, for optimizers that compute the loss again. Levin's surrounds the
    // update, which has no such optimizers: it comes after configure_gradient_clipping.
    "module optimizer_step",
};
const std::set<std::string> only_in_levin{"module optimizer_step"};

template <class Base>
struct Recording : Base {
  template <class... Args>
  Recording(std::string name, Events* list, Args&&... args) : Base(std::forward<Args>(args)...), owner(std::move(name)), events(list) {}
  void note(const std::string& hook) const { events->push_back(owner + " " + hook); }
  void note(const std::string& hook, int64_t batch_idx) const { note(hook + " " + std::to_string(batch_idx)); }

  void setup(Stage stage) override { note(std::string("setup ") + stage_name(stage)); }
  void teardown(Stage stage) override { note(std::string("teardown ") + stage_name(stage)); }
  std::string owner;
  Events* events;
};

#define RECORD_HOOK(name) \
  void name() override { this->note(#name); }
#define RECORD_OPTIMIZER_HOOK(name) \
  void name(std::string_view) override { this->note(#name); }
#define RECORD_BATCH_HOOK(name) \
  void name(const Batch&, int64_t batch_idx) override { this->note(#name, batch_idx); }
#define RECORD_RESULT_HOOK(name) \
  void name(const Tensor&, const Batch&, int64_t batch_idx) override { this->note(#name, batch_idx); }

// Callbacks and modules.
template <class Base>
struct RecordingHooks : Recording<Base> {
  using Recording<Base>::Recording;
  RECORD_HOOK(on_fit_start)
  RECORD_HOOK(on_fit_end)
  RECORD_HOOK(on_train_start)
  RECORD_HOOK(on_train_end)
  RECORD_HOOK(on_train_epoch_start)
  RECORD_HOOK(on_train_epoch_end)
  RECORD_BATCH_HOOK(on_train_batch_start)
  RECORD_RESULT_HOOK(on_train_batch_end)
  RECORD_OPTIMIZER_HOOK(on_before_zero_grad)
  void on_before_backward(const Tensor&) override { this->note("on_before_backward"); }
  RECORD_HOOK(on_after_backward)
  RECORD_OPTIMIZER_HOOK(on_before_optimizer_step)
  RECORD_HOOK(on_validation_start)
  RECORD_HOOK(on_validation_end)
  RECORD_HOOK(on_validation_epoch_start)
  RECORD_HOOK(on_validation_epoch_end)
  RECORD_BATCH_HOOK(on_validation_batch_start)
  RECORD_BATCH_HOOK(on_validation_batch_end)
  RECORD_HOOK(on_test_start)
  RECORD_HOOK(on_test_end)
  RECORD_HOOK(on_test_epoch_start)
  RECORD_HOOK(on_test_epoch_end)
  RECORD_BATCH_HOOK(on_test_batch_start)
  RECORD_BATCH_HOOK(on_test_batch_end)
  RECORD_HOOK(on_predict_start)
  RECORD_HOOK(on_predict_end)
  RECORD_HOOK(on_predict_epoch_start)
  RECORD_HOOK(on_predict_epoch_end)
  RECORD_BATCH_HOOK(on_predict_batch_start)
  RECORD_RESULT_HOOK(on_predict_batch_end)
};

struct RecordingCallback : RecordingHooks<levin::Callback> {
  using RecordingHooks::RecordingHooks;
  RECORD_HOOK(on_sanity_check_start)
  RECORD_HOOK(on_sanity_check_end)
  void on_exception(const std::string&) override { note("on_exception"); }
};

struct Monitor : levin::Callback {
  explicit Monitor(Events* list) : events(list) {}
  bool monitors() const override { return true; }
  void on_train_epoch_end() override { events->push_back("monitor on_train_epoch_end"); }
  Events* events;
};

struct Net : RecordingHooks<levin::Module> {
  Net(Events* list, bool automatically, bool breaks) : RecordingHooks("module", list), automatic(automatically), fails(breaks) {
    critic = register_module("critic", torch::nn::Linear(2, 1));
    generator = register_module("generator", torch::nn::Linear(2, 1));
  }
  Tensor loss(const Batch& batch) { return at::square(critic(batch["x"]) + generator(batch["x"])).mean(); }

  Tensor training_step(const Batch& batch) override {
    note("training_step");
    if (fails) throw std::runtime_error("the module broke");
    if (automatic) return loss(batch);
    optimize("critic", [&] { return loss(batch); });
    auto& last = optimizer("generator");
    last.toggle();
    last.zero_grad();
    manual_backward(loss(batch));
    last.step();
    last.untoggle();
    return {};
  }
  void validation_step(const Batch&) override { note("validation_step"); }
  void test_step(const Batch&) override { note("test_step"); }
  Tensor predict_step(const Batch& batch) override { return note("predict_step"), critic(batch["x"]); }
  bool automatic_optimization() const override { return automatic; }
  std::vector<levin::OptimizerSpec> configure_optimizers() override {
    note("configure_optimizers");
    levin::OptimizerSpec all = levin::SGD{}, first = all, second = all;
    if (automatic) return {all};
    first.name = "critic", first.parameters = {"critic.*"};
    second.name = "generator", second.parameters = {"generator.*"};
    return {first, second};
  }
  RECORD_HOOK(configure_model)
  std::vector<std::shared_ptr<levin::Callback>> configure_callbacks() override {
    return note("configure_callbacks"), Module::configure_callbacks();
  }
  void configure_gradient_clipping(std::string_view name, std::optional<double> value, levin::ClipAlgorithm algorithm) override {
    if (automatic) note("configure_gradient_clipping");  // Lightning has no optimize()
    Module::configure_gradient_clipping(name, value, algorithm);
  }
  void optimizer_step(std::string_view name, const std::function<void()>& update) override {
    note("optimizer_step");
    Module::optimizer_step(name, update);
  }
  RECORD_HOOK(on_validation_model_eval)
  RECORD_HOOK(on_validation_model_train)
  RECORD_HOOK(on_test_model_eval)
  RECORD_HOOK(on_test_model_train)
  RECORD_HOOK(on_predict_model_eval)
  RECORD_HOOK(on_validation_model_zero_grad)

  bool automatic, fails;
  torch::nn::Linear critic{nullptr}, generator{nullptr};
};

struct Data : Recording<levin::DataModule> {
  Data(Events* list, size_t val_loaders) : Recording("data", list), validations(val_loaders) {}
  // So many on every rank.
  static levin::DataLoaderSpec batches(int64_t count) {
    const int64_t samples = 2 * count * levin::test::runtime().size();
    return {std::shared_ptr<levin::TensorDataset>(new levin::TensorDataset{{"x", at::ones({samples, 2})}}), {.batch_size = 2}};
  }
  levin::DataLoaderSpec train_dataloader() override { return note("train_dataloader"), training; }
  std::vector<levin::DataLoaderSpec> val_dataloaders() override {
    note("val_dataloader");
    return std::vector<levin::DataLoaderSpec>(validations, evaluation);
  }
  levin::DataLoaderSpec test_dataloader() override { return note("test_dataloader"), evaluation; }
  levin::DataLoaderSpec predict_dataloader() override { return note("predict_dataloader"), evaluation; }
  RECORD_HOOK(prepare_data)
  void on_before_batch_transfer(Batch&) override { note("on_before_batch_transfer"); }
  void transfer_batch_to_device(Batch& batch, const levin::Session& session) override {
    note("transfer_batch_to_device");
    DataModule::transfer_batch_to_device(batch, session);
  }
  void on_after_batch_transfer(Batch&) override { note("on_after_batch_transfer"); }
  void on_exception(const std::string&) override { note("on_exception"); }

  size_t validations;
  levin::DataLoaderSpec training = batches(3), evaluation = batches(2);
};

Events lightning(const std::string& name) {
  std::ifstream file(std::string(LEVIN_TESTS) + "/reference/hooks.txt");
  Events events;
  bool in_section = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("# "))
      in_section = line == "# " + name;
    else if (in_section && !only_in_lightning.contains(line))
      events.push_back(line);
  }
  BOOST_TEST_REQUIRE(!events.empty());
  return events;
}

struct Case {
  TrainerConfig config;
  size_t val_loaders = 1;
  bool automatic = true, fails = false;
};

void compare(const std::string& name, const Case& how, const std::function<void(levin::Trainer&, Net&, Data&)>& run) {
  BOOST_TEST_CONTEXT(name) {
    Events events, ours;
    levin::Trainer trainer(how.config, levin::test::runtime());
    trainer.add_callback(std::make_shared<Monitor>(&events));
    trainer.add_callback(std::make_shared<RecordingCallback>("callback", &events));
    const auto module = trainer.build<Net>(&events, how.automatic, how.fails);
    Data data(&events, how.val_loaders);
    run(trainer, *module, data);
    for (const auto& event : events)
      if (!only_in_levin.contains(event)) ours.push_back(event);
    Events theirs = lightning(name);
    if (levin::test::runtime().rank() != 0) std::erase(theirs, "data prepare_data");  // one rank's of a host
    BOOST_TEST(ours == theirs, boost::test_tools::per_element());
  }
}

const auto fit = [](levin::Trainer& trainer, Net& module, Data& data) { trainer.fit(module, data); };

}  // namespace

BOOST_AUTO_TEST_CASE(a_fit) {
  compare("fit", {{.session = {.gradient_clip_val = 0.5}, .max_epochs = 2, .accumulate_grad_batches = 2, .num_sanity_val_steps = 1}}, fit);
}

BOOST_AUTO_TEST_CASE(validations_inside_an_epoch_over_two_loaders) {
  compare("fit, two validation loaders", {{.max_epochs = 1, .val_check_interval = levin::Limit::batches(2), .num_sanity_val_steps = 0}, 2},
          fit);
}

BOOST_AUTO_TEST_CASE(manual_optimization) {
  compare("fit, manual",
          {.config = {.max_epochs = 1, .limit_train_batches = levin::Limit::batches(2), .limit_val_batches = levin::Limit::batches(0)},
           .automatic = false},
          fit);
}

BOOST_AUTO_TEST_CASE(an_exception) {
  if (levin::test::runtime().size() > 1) return;  // the communicator is of no use afterwards
  compare("fit, an exception", {.config = {.max_epochs = 1, .limit_val_batches = levin::Limit::batches(0)}, .fails = true},
          [](levin::Trainer& trainer, Net& module, Data& data) { BOOST_CHECK_THROW(trainer.fit(module, data), std::runtime_error); });
}

BOOST_AUTO_TEST_CASE(evaluations) {
  compare("validate", {}, [](levin::Trainer& trainer, Net& module, Data& data) { trainer.validate(module, data); });
  compare("test", {}, [](levin::Trainer& trainer, Net& module, Data& data) { trainer.test(module, data); });
  compare("predict", {}, [](levin::Trainer& trainer, Net& module, Data& data) { trainer.predict(module, data); });
}

BOOST_AUTO_TEST_CASE(an_optimizer_step_follows_the_clipping) {
  Events events;
  levin::Trainer trainer({.max_steps = 1, .num_sanity_val_steps = 0}, levin::test::runtime());
  const auto module = trainer.build<Net>(&events, true, false);
  Data data(&events, 1);
  trainer.fit(*module, data);
  const auto at = [&](const std::string& event) { return std::find(events.begin(), events.end(), "module " + event) - events.begin(); };
  BOOST_TEST(at("configure_gradient_clipping") + 1 == at("optimizer_step"));
  BOOST_TEST(at("optimizer_step") + 1 == at("on_train_batch_end 0"));
}

BOOST_AUTO_TEST_SUITE_END()
