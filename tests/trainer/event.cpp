#include "levin/trainer/event.h"

#include "../trainer/toy.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using levin::Event;

BOOST_AUTO_TEST_SUITE(trainer_event)

// 5 steps and 10 batches an epoch.
BOOST_AUTO_TEST_CASE(functions_are_called_at_every_nth_event) {
  ToyData data;
  levin::Trainer trainer({.max_epochs = 4, .accumulate_grad_batches = 2}, runtime());
  std::vector<int64_t> steps, epochs, batches;
  int validations = 0, tests = 0, starts = 0;
  bool has_metrics = true;
  trainer.on(Event::step, {.every = 4}, [&](levin::Trainer& caller) {
    BOOST_TEST(&caller == &trainer);
    steps.push_back(caller.global_step());
  });
  trainer.on(Event::train_epoch_end, {.every = 2}, [&](levin::Trainer& caller) { epochs.push_back(caller.current_epoch()); });
  trainer.on(Event::train_batch_end, {.every = 7}, [&](levin::Trainer& caller) { batches.push_back(caller.batch_progress().done); });
  trainer.on(Event::validation_end, [&] { validations++, has_metrics &= !trainer.report().metrics.empty(); });
  trainer.on(Event::test_end, [&] { tests++; });
  trainer.on(Event::fit_start, [&] { starts++; });
  const auto module = trainer.build<Toy>();
  trainer.fit(*module, data);
  trainer.test(*module, data);
  BOOST_TEST(module->calls["training_step"] == 40);
  BOOST_TEST(steps == (std::vector<int64_t>{4, 8, 12, 16, 20}), boost::test_tools::per_element());
  BOOST_TEST(epochs == (std::vector<int64_t>{1, 3}), boost::test_tools::per_element());
  BOOST_TEST(batches == (std::vector<int64_t>{7, 4, 1, 8, 5}), boost::test_tools::per_element());
  BOOST_TEST(validations == 4);  // not the sanity check
  BOOST_TEST(has_metrics);
  BOOST_TEST(tests == 1);
  BOOST_TEST(starts == 1);
}

BOOST_AUTO_TEST_CASE(a_training_that_resumes_counts_on) {
  const FolderOfRanks folder;
  const auto train = [&](int64_t epochs) {
    ToyData data;
    levin::Trainer trainer({.max_epochs = epochs, .num_sanity_val_steps = 0}, runtime());
    trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = folder.path}));
    std::vector<int64_t> epochs_of_validations;
    trainer.on(Event::validation_end, {.every = 2}, [&] { epochs_of_validations.push_back(trainer.current_epoch()); });
    const auto module = trainer.build<Toy>();
    const auto newest = levin::newest_checkpoint(folder.path, trainer.session().communicator().cpu());
    trainer.fit(*module, data, {newest.reader.get()});
    return epochs_of_validations;
  };
  BOOST_TEST(train(3) == (std::vector<int64_t>{1}), boost::test_tools::per_element());
  BOOST_TEST(train(6) == (std::vector<int64_t>{3, 5}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(what_can_not_be_counted_is_refused) {
  levin::Trainer trainer({}, runtime());
  check_throws<levin::UsageError>([&] { trainer.on(Event::step, {.every = 0}, [] {}); }, {"every is 0"});
  check_throws<levin::UsageError>([&] { trainer.on(Event::step, std::function<void(levin::Trainer&)>()); }, {"empty function"});
}

BOOST_AUTO_TEST_SUITE_END()
