// Every strategy and precision on GPUs follows one rank on the CPU.
#include "../jobs/gpt_training.h"
#include "needs_a_gpu.h"

using levin::test::follow_one_rank, levin::test::small_gpt;

BOOST_AUTO_TEST_SUITE(cuda_strategies, *boost::unit_test::fixture(&levin::test::needs_a_gpu))

namespace {

const auto gelu = small_gpt(gpt::Activation::gelu, gpt::Positions::learned),
           swiglu = small_gpt(gpt::Activation::swiglu, gpt::Positions::rotary);

levin::SessionConfig on_gpus(levin::Precision precision) {
  levin::SessionConfig config;
  config.accelerator = "cuda";
  config.precision = precision;
  config.gradient_clip_val = 1;
  return config;
}

}  // namespace

BOOST_AUTO_TEST_CASE(in_float64) {
  if (!levin::test::enough_gpus()) return;
  auto config = on_gpus(levin::Precision::float64);
  follow_one_rank(config, gelu, 20, 1e-9);
  config.activation_checkpointing = levin::ActivationCheckpointing::units;
  follow_one_rank(config, swiglu, 8, 1e-9);
}

BOOST_AUTO_TEST_CASE(in_float32) {
  if (levin::test::enough_gpus()) follow_one_rank(on_gpus(levin::Precision::float32), swiglu, 10, 1e-4);
}

// The CPU computes in the same precision, in another order.
BOOST_AUTO_TEST_CASE(in_mixed_precision) {
  if (!levin::test::enough_gpus()) return;
  follow_one_rank(on_gpus(levin::Precision::bfloat16_mixed), gelu, 10, 0.1);
  follow_one_rank(on_gpus(levin::Precision::float16_mixed), gelu, 10, 0.1);
}

// What leaves the GPU: parameters, the optimizer's state.
BOOST_AUTO_TEST_CASE(offloaded) {
  if (!levin::test::enough_gpus()) return;
  auto config = on_gpus(levin::Precision::float64);
  auto host = config;
  host.accelerator = "cpu";
  levin::MpiRuntime alone(MPI_COMM_SELF);
  const auto expected = levin::test::gpt_losses(alone, host, gelu, 8);
  for (const auto& strategy : {levin::StrategyConfig(levin::Zero1Offload{}), levin::StrategyConfig(levin::Zero2Offload{}),
                               levin::StrategyConfig(levin::FSDPOffload{})}) {
    config.strategy = strategy;
    const auto found = levin::test::gpt_losses(levin::test::runtime(), config, gelu, 8);
    for (size_t step = 0; step < found.size(); step++) BOOST_TEST(found[step] == expected[step], boost::test_tools::tolerance(1e-9));
  }
}

BOOST_AUTO_TEST_SUITE_END()
