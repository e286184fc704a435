// Updates whose results are still on the device when a spike takes the training back.
#include "levin/callbacks/spike_detection.h"

#include <cmath>

#include "../trainer/toy.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "needs_a_gpu.h"

BOOST_AUTO_TEST_SUITE(cuda_spike_detection, *boost::unit_test::fixture(&levin::test::needs_a_gpu))

// The gradient of the sixth step is not finite: its update is skipped, which the host does not know yet. The training goes back to the
// four updates of the fourth step's checkpoint, and four more follow.
BOOST_AUTO_TEST_CASE(a_skipped_update_is_not_taken_off_those_of_the_checkpoint) {
  if (!levin::test::enough_gpus()) return;
  struct Spiked : levin::test::Toy {
    levin::Tensor training_step(const levin::Batch& batch) override {
      const auto loss = at::mse_loss(net(batch["x"]), batch["y"]);
      return trainer().global_step() == 5 ? loss * std::nan("") : loss;
    }
  };
  const levin::test::FolderOfRanks folder;
  levin::TrainerConfig config{.max_epochs = 2};
  config.session.accelerator = "cuda";
  config.session.nonfinite_gradients = levin::NonfiniteGradients::skip;
  levin::test::ToyData data;
  levin::Trainer trainer(config, levin::test::runtime());
  const auto spikes = std::make_shared<levin::SpikeDetection>();
  trainer.add_callback(spikes);
  trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(
      levin::ModelCheckpointConfig{.dirpath = folder.path, .save_top_k = -1, .every_n_train_steps = levin::AutoCount{1}}));
  const auto module = trainer.build<Spiked>();
  module->spec = levin::Adam{.lr = 0.01};
  trainer.fit(*module, data);
  BOOST_TEST(spikes->rollbacks() == 1);
  BOOST_TEST(trainer.global_step() == 10);
  BOOST_TEST(trainer.session().strategy().optimizer_steps(0) == 8);
}

BOOST_AUTO_TEST_SUITE_END()
