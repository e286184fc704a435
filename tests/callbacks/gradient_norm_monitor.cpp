#include "levin/callbacks/gradient_norm_monitor.h"

#include <cmath>

#include "levin/core/error.h"
#include "reference_toy.h"

using namespace levin::test;
using levin::GradientNormMonitor;

BOOST_AUTO_TEST_SUITE(callbacks_gradient_norm_monitor)

namespace {

// Of the first step: bias, weight, total.
std::vector<double> norms_of(double norm_type, const std::string& prefix, const levin::StrategyConfig& strategy) {
  auto config = reference_config(1);
  config.session.strategy = strategy;
  config.session.gradient_clip_val = 1e-3;  // does not count
  config.max_steps = 1;
  ReferenceData data;
  levin::Trainer trainer(config, runtime());
  trainer.add_callback(std::make_shared<GradientNormMonitor>(levin::GradientNormMonitorConfig{norm_type, true}));
  const auto module = trainer.build<ReferenceToy>();
  trainer.fit(*module, data);
  std::vector<double> norms;
  for (const auto* name : {"/net.weight", "/net.bias", "_total"}) {
    const double* value = levin::find_value(trainer.report().metrics, prefix + name);
    BOOST_REQUIRE_MESSAGE(value, levin::names_of(trainer.report().metrics));
    norms.push_back(*value);
  }
  return norms;
}

}  // namespace

// Each parameter's norm, and that of all: Lightning computes the last in fp32.
BOOST_AUTO_TEST_CASE(norms_are_those_of_lightning_under_every_strategy) {
  for (const levin::StrategyConfig& strategy :
       {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(levin::DDP{.share_parameters = levin::ShareParameters::none}),
        levin::StrategyConfig(levin::Zero2{}), levin::StrategyConfig(levin::FSDP{}), levin::StrategyConfig(levin::HSDP{})}) {
    check_recorded(norms_of(2, "grad_2.0_norm", strategy), "norm_2", 1e-6);
    check_recorded(norms_of(1, "grad_1.0_norm", strategy), "norm_1", 1e-6);
    check_recorded(norms_of(INFINITY, "grad_inf_norm", strategy), "norm_inf", 1e-6);
  }
}

BOOST_AUTO_TEST_CASE(steps_that_are_logged_have_a_norm) {
  auto config = reference_config(2);
  config.log_every_n_steps = 3;
  ReferenceData data;
  levin::Trainer trainer(config, runtime());
  const auto logger = std::make_shared<MemoryLogger>();
  trainer.add_logger(logger);
  trainer.add_callback(std::make_shared<GradientNormMonitor>());
  const auto module = trainer.build<ReferenceToy>();
  trainer.fit(*module, data);
  std::vector<int64_t> steps;
  for (const auto& row : logger->rows)
    if (levin::find_value(row.values, "grad_2.0_norm_total")) steps.push_back(row.step);
  if (runtime().rank() == 0) BOOST_TEST(steps == (std::vector<int64_t>{2, 5}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(bad_options_are_refused) {
  check_throws<levin::ConfigError>([] { GradientNormMonitor({.norm_type = 0}); }, {"norm_type"});
  check_throws<levin::ConfigError>([] { GradientNormMonitor({.norm_type = NAN}); }, {"norm_type"});
}

BOOST_AUTO_TEST_SUITE_END()
