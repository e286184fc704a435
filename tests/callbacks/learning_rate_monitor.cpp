#include "levin/callbacks/learning_rate_monitor.h"

#include <torch/optim/adagrad.h>

#include "../trainer/toy.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using levin::Interval;
using levin::LearningRateMonitor;
using levin::LearningRateMonitorConfig;
using Values = std::vector<std::pair<int64_t, double>>;

BOOST_AUTO_TEST_SUITE(callbacks_learning_rate_monitor)

namespace {

struct Monitored {
  Monitored(const LearningRateMonitorConfig& config, const levin::OptimizerSpec& spec, levin::TrainerConfig options = {}) {
    ToyData data;
    options.max_epochs = options.max_epochs.value_or(2);
    if (!options.log_every_n_steps && !options.barebones) options.log_every_n_steps = 2;
    levin::Trainer trainer(options, runtime());
    trainer.add_callback(std::make_shared<LearningRateMonitor>(config));
    trainer.add_logger(logger);
    const auto module = trainer.build<Toy>();
    module->spec = spec;
    trainer.fit(*module, data);
    metrics = trainer.report().metrics;
  }

  /// What was logged under a name: (step, value). The same on all ranks is the newest value in the report.
  Values of(const std::string& name) const {
    Values values;
    for (const auto& row : logger->rows)
      if (const double* value = levin::find_value(row.values, name)) values.emplace_back(row.step, *value);
    return values;
  }

  std::shared_ptr<MemoryLogger> logger = std::make_shared<MemoryLogger>();
  levin::NamedValues metrics;
};

levin::OptimizerSpec halved(Interval interval) {
  levin::OptimizerSpec spec = levin::AdamW{.lr = 1, .beta1 = 0.8, .weight_decay = 0.25};
  spec.lr_scheduler = levin::StepLR{.step_size = 1, .gamma = 0.5, .interval = interval};
  return spec;
}

// Loggers are rank 0's.
bool first() { return runtime().rank() == 0; }

}  // namespace

BOOST_AUTO_TEST_CASE(a_schedule_by_steps_is_logged_with_the_steps) {
  const Monitored run({}, halved(Interval::step));
  // Steps 1, 3, … are those that are logged; the rate is the one that they use.
  if (first()) BOOST_CHECK((run.of("lr-AdamW") == Values{{1, 0.5}, {3, 0.125}, {5, 1 / 32.0}, {7, 1 / 128.0}, {9, 1 / 512.0}}));
  BOOST_TEST(*levin::find_value(run.metrics, "lr-AdamW") == 1 / 512.0);
  BOOST_TEST(run.of("lr-AdamW-momentum").empty());
}

BOOST_AUTO_TEST_CASE(a_schedule_by_epochs_is_logged_with_the_epochs) {
  const Monitored run({.log_momentum = true, .log_weight_decay = true}, halved(Interval::epoch));
  if (!first()) return;
  BOOST_CHECK((run.of("lr-AdamW") == Values{{0, 1}, {5, 0.5}}));
  BOOST_CHECK((run.of("lr-AdamW-momentum") == Values{{0, 0.8}, {5, 0.8}}));
  BOOST_CHECK((run.of("lr-AdamW-weight_decay") == Values{{0, 0.25}, {5, 0.25}}));
}

BOOST_AUTO_TEST_CASE(logging_interval_overrides_the_schedules) {
  const Monitored by_step({.logging_interval = Interval::step}, halved(Interval::epoch));
  const Monitored by_epoch({.logging_interval = Interval::epoch}, halved(Interval::step));
  if (!first()) return;
  BOOST_CHECK((by_step.of("lr-AdamW") == Values{{1, 1}, {3, 1}, {5, 0.5}, {7, 0.5}, {9, 0.5}}));
  BOOST_CHECK((by_epoch.of("lr-AdamW") == Values{{0, 1}, {5, 1 / 32.0}}));
}

BOOST_AUTO_TEST_CASE(without_a_schedule_steps_and_epochs_are_logged) {
  const Monitored run({.log_momentum = true}, levin::Adagrad{.lr = 0.5}, {.max_epochs = 1});
  if (!first()) return;
  BOOST_CHECK((run.of("lr-Adagrad") == Values{{0, 0.5}, {1, 0.5}, {3, 0.5}}));
  BOOST_CHECK((run.of("lr-Adagrad-momentum") == Values{{0, 0}, {1, 0}, {3, 0}}));
}

BOOST_AUTO_TEST_CASE(groups_of_parameters_have_names) {
  levin::OptimizerSpec spec = levin::SGD{.lr = 0.5, .momentum = 0.9};
  spec.rules = {{.pattern = "*bias", .lr = 0.25, .weight_decay = 0.125}};
  const Monitored run({.logging_interval = Interval::epoch, .log_momentum = true, .log_weight_decay = true}, spec, {.max_epochs = 1});
  if (!first()) return;
  BOOST_CHECK((run.of("lr-SGD/pg1") == Values{{0, 0.5}}));
  BOOST_CHECK((run.of("lr-SGD/pg2") == Values{{0, 0.25}}));
  BOOST_CHECK((run.of("lr-SGD/pg2-momentum") == Values{{0, 0.9}}));
  BOOST_CHECK((run.of("lr-SGD/pg2-weight_decay") == Values{{0, 0.125}}));
}

BOOST_AUTO_TEST_CASE(an_optimizer_of_libtorch_shows_its_learning_rates) {
  const auto spec = levin::custom([](std::vector<levin::Tensor> parameters) {
    std::vector<torch::optim::OptimizerParamGroup> groups;
    for (auto& parameter : parameters)
      groups.emplace_back(std::vector<levin::Tensor>{parameter},
                          std::make_unique<torch::optim::AdagradOptions>(groups.empty() ? 0.5 : 0.25));
    return std::make_unique<torch::optim::Adagrad>(groups);
  });
  const Monitored run({.logging_interval = Interval::epoch, .log_momentum = true}, spec, {.max_epochs = 1});
  if (!first()) return;
  BOOST_CHECK((run.of("lr-Adagrad/pg1") == Values{{0, 0.5}}));
  BOOST_CHECK((run.of("lr-Adagrad/pg2") == Values{{0, 0.25}}));
  BOOST_TEST(run.of("lr-Adagrad/pg1-momentum").empty());
}

BOOST_AUTO_TEST_CASE(an_accumulation_is_logged_once) {
  const Monitored run({.logging_interval = Interval::step}, halved(Interval::step),
                      {.max_epochs = 1, .accumulate_grad_batches = 2, .log_every_n_steps = 1});
  if (first()) BOOST_CHECK((run.of("lr-AdamW") == Values{{0, 1}, {1, 1 / 2.0}, {2, 1 / 4.0}, {3, 1 / 8.0}, {4, 1 / 16.0}}));
}

BOOST_AUTO_TEST_CASE(several_optimizers_have_their_own_names) {
  const levin::OptimizerValues plain{.name = "Adam"}, scheduled{.name = "Adam", .interval = Interval::step}, other{.name = "SGD"};
  BOOST_TEST(LearningRateMonitor::names({plain, other, scheduled, plain}) ==
                 (std::vector<std::string>{"lr-Adam-1", "lr-SGD", "lr-Adam", "lr-Adam-2"}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_run_that_logs_nothing_is_an_error) {
  const auto spec = halved(Interval::step);
  // All ranks find it; one may learn of it from another.
  check_throws<levin::Error>([&] { Monitored({}, spec, {.logger = false}); }, {"[callbacks]", "trainer.logger"});
  check_throws<levin::Error>([&] { Monitored({}, spec, {.barebones = true}); }, {"[callbacks]", "barebones"});
  BOOST_TEST(Monitored({}, spec, {.fast_dev_run = {1}}).logger->rows.empty());
}

BOOST_AUTO_TEST_SUITE_END()
