#include "levin/callbacks/spike_detection.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

#include "check_all_throw.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/callbacks/weight_averaging.h"
#include "levin/core/error.h"
#include "reference_toy.h"

using namespace levin::test;
using levin::SpikeDetection;
using levin::SpikeDetectionConfig;

BOOST_AUTO_TEST_SUITE(callbacks_spike_detection)

namespace {

// One micro-batch has other targets, so that its loss, and the step that it makes, are wrong. The bad batch is the last rank's alone.
struct Spiked : ReferenceToy {
  levin::Tensor training_step(const levin::Batch& batch) override {
    const bool bad = trainer().global_step() == bad_step && runtime().rank() == runtime().size() - 1;
    const auto loss = at::mse_loss(net(batch["x"]), bad ? batch["y"] + offset : batch["y"]);
    return loss;
  }
  void validation_step(const levin::Batch&) override {}
  int64_t bad_step = 5;
  double offset = 1e3;
};

struct Trained {
  std::vector<double> values;
  int64_t rollbacks, steps, n_averaged;
};

Trained train(const SpikeDetectionConfig& spikes, const levin::StrategyConfig& strategy, int64_t every, double offset = 1e3,
              const std::shared_ptr<levin::WeightAveraging>& averaging = nullptr) {
  const FolderOfRanks folder;
  auto config = reference_config(3);
  config.session.strategy = strategy;
  ReferenceData data;
  levin::Trainer trainer(config, runtime());
  int64_t n_averaged = 0;
  if (averaging) {
    trainer.add_callback(averaging);
    trainer.on(levin::Event::train_end, [&] { n_averaged = averaging->n_averaged(); });
  }
  const auto callback = std::make_shared<SpikeDetection>(spikes);
  trainer.add_callback(callback);
  if (every > 0)
    trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(
        levin::ModelCheckpointConfig{.dirpath = folder.path, .save_top_k = -1, .every_n_train_steps = levin::AutoCount{every}}));
  const auto module = trainer.build<Spiked>();
  module->offset = offset;
  trainer.fit(*module, data);
  return {values_of(trainer.session()), callback->rollbacks(), trainer.global_step(), n_averaged};
}

bool ends_with(const SpikeDetectionConfig& spikes, int64_t every, const std::string& words) {
  try {
    train(spikes, levin::DDP{}, every);
  } catch (const levin::Error& error) {  // of this rank, or of a faster one
    BOOST_TEST(std::string(error.what()).find(words) != std::string::npos, error.what());
    return true;
  }
  return false;
}

// The loss of each step is given, and the parameters stay.
struct Scripted : ReferenceToy {
  levin::Tensor training_step(const levin::Batch& batch) override {
    return 0 * net(batch["x"]).sum() + losses.at(static_cast<size_t>(trainer().global_step()));
  }
  void validation_step(const levin::Batch&) override {}
  std::vector<double> losses;
};

}  // namespace

// The cases of record_spikes.py.
BOOST_AUTO_TEST_CASE(spikes_are_those_that_lightning_finds) {
  std::ifstream file(std::string(LEVIN_TESTS) + "/reference/spikes.txt");
  int cases = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("#")) continue;
    std::istringstream in(line);
    const std::vector<std::string> words{std::istream_iterator<std::string>(in), {}};
    BOOST_REQUIRE_MESSAGE(words.size() > 8, line);
    const auto number = [&](size_t i) { return std::strtod(words[i].c_str(), nullptr); };  // reads nan and inf, too
    const auto optional = [&](size_t i) { return std::isnan(number(i)) ? std::nullopt : std::optional(number(i)); };
    const SpikeDetectionConfig spikes{.mode = words[1] == "min" ? levin::MonitorMode::min : levin::MonitorMode::max,
                                      .window = std::stoll(words[2]),
                                      .warmup = std::stoll(words[3]),
                                      .atol = optional(4),
                                      .rtol = optional(5),
                                      .finite_only = words[6] == "1",
                                      .rollback = false};
    const int64_t spike = std::stoll(words[7]);
    std::vector<double> losses;
    for (size_t i = 8; i < words.size(); i++) losses.push_back(number(i));
    auto config = reference_config(3);
    config.max_steps = static_cast<int64_t>(losses.size());
    ReferenceData data;
    levin::Trainer trainer(config, runtime());
    trainer.add_callback(std::make_shared<SpikeDetection>(spikes));
    const auto module = trainer.build<Scripted>();
    module->losses = losses;
    const auto train_scripted = [&] { trainer.fit(*module, data); };
    BOOST_TEST_CONTEXT(line) {
      if (spike >= 0)
        check_all_throw<levin::Error>(train_scripted, {"a loss spike in step " + std::to_string(spike + 1) + ":"});
      else
        BOOST_CHECK_NO_THROW(train_scripted());
    }
    cases++;
  }
  BOOST_TEST(cases == 20);
}

// The sixth step goes wrong. The newest checkpoint two steps before it is the fourth step's; the fifth and the sixth do not count.
BOOST_AUTO_TEST_CASE(a_spike_takes_the_training_back_to_the_last_good_checkpoint) {
  for (const levin::StrategyConfig& strategy : {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(levin::FSDP{})}) {
    const auto spiked = train({}, strategy, 1);
    BOOST_TEST(spiked.rollbacks == 1);
    BOOST_TEST(spiked.steps == 12);
    const auto nan = train({}, strategy, 1, std::nan(""));
    BOOST_TEST(nan.rollbacks == 1);
    BOOST_TEST(spiked.values == nan.values, boost::test_tools::per_element());  // whatever the spike was
    for (const double value : spiked.values) BOOST_TEST(std::abs(value) < 10);
    const auto unseen = train({.rtol = 1e12, .finite_only = false}, strategy, 1);
    BOOST_TEST(unseen.rollbacks == 0);
    BOOST_TEST(unseen.values != spiked.values);
  }
  const auto calm = train({}, levin::DDP{}, 1, 0);
  BOOST_TEST(calm.rollbacks == 0);
}

// Six updates, then the four of the checkpoint, then those of the six steps that follow.
BOOST_AUTO_TEST_CASE(averages_go_back_with_the_training) {
  const auto trained = train({}, levin::DDP{}, 1, std::nan(""), std::make_shared<levin::WeightAveraging>());
  BOOST_TEST(trained.rollbacks == 1);
  BOOST_TEST(trained.n_averaged == 10);
  for (const double value : trained.values) BOOST_TEST(std::abs(value) < 10);
}

BOOST_AUTO_TEST_CASE(without_a_way_back_it_is_an_error) {
  BOOST_TEST(ends_with({.rollback = false}, 1, "a loss spike in step 6"));
  BOOST_TEST(ends_with({}, 0, "no checkpoint two steps before it"));
  BOOST_TEST(ends_with({}, 5, "no checkpoint two steps before it"));
  BOOST_TEST(ends_with({.max_rollbacks = 0}, 1, "after 0 rollbacks"));
}

BOOST_AUTO_TEST_SUITE_END()
