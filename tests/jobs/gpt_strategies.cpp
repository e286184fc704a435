// The GPT of jobs/gpt under every strategy follows one rank.
#include "gpt_training.h"
#include "levin/comm/topology.h"
#include "levin_test.h"

using levin::test::follow_one_rank, levin::test::small_gpt;

BOOST_AUTO_TEST_SUITE(jobs_gpt_strategies)

BOOST_AUTO_TEST_CASE(fifty_steps_in_float64) {
  levin::SessionConfig config;
  config.precision = levin::Precision::float64;
  config.gradient_clip_val = 1;
  const bool several_hosts = levin::Topology::discover(levin::test::runtime()).hosts() > 1;
  follow_one_rank(config, small_gpt(gpt::Activation::gelu, gpt::Positions::learned), several_hosts ? 8 : 50, 1e-9);
  config.activation_checkpointing = levin::ActivationCheckpointing::units;
  follow_one_rank(config, small_gpt(gpt::Activation::swiglu, gpt::Positions::rotary), 8, 1e-9);
}

BOOST_AUTO_TEST_CASE(ten_steps_in_float32) { follow_one_rank({}, small_gpt(gpt::Activation::gelu, gpt::Positions::rotary), 10, 1e-4); }

BOOST_AUTO_TEST_SUITE_END()
