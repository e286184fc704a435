#include "levin/callbacks/on_exception_checkpoint.h"

#include <ATen/ops/equal.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "../trainer/toy.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/lambda_callback.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "mpi_calls.h"

using namespace levin::test;
using levin::LambdaHooks;
using levin::OnExceptionCheckpoint;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(callbacks_on_exception_checkpoint)

namespace {

/// Trains two epochs of 5 steps on 8 samples each; something is thrown on the way.
struct Broken {
  explicit Broken(const fs::path& folder, const std::function<void(Toy&)>& prepare, LambdaHooks hooks = {}) {
    trainer.add_callback(std::make_shared<OnExceptionCheckpoint>(levin::OnExceptionCheckpointConfig{.dirpath = folder}));
    trainer.add_callback(std::make_shared<levin::LambdaCallback>(std::move(hooks)));
    module = trainer.build<Toy>();
    prepare(*module);
    ToyData data;
    BOOST_CHECK_THROW(trainer.fit(*module, data), std::exception);
    MPI_Barrier(runtime().communicator());
    found = levin::list_checkpoints(folder).checkpoints;
    MPI_Barrier(runtime().communicator());
  }

  levin::Trainer trainer{{.max_epochs = 2}, runtime(), 5};  // fit's seed
  std::shared_ptr<Toy> module;
  std::vector<levin::FoundCheckpoint> found;
};

/// Resumes from the saved state and trains to the end.
std::shared_ptr<Toy> resumed(const fs::path& checkpoint) {
  levin::Trainer trainer({.max_epochs = 2}, runtime(), 5);
  const levin::CheckpointReader reader(checkpoint, trainer.session().communicator().cpu());
  const auto module = trainer.build<Toy>();
  ToyData data;
  trainer.fit(*module, data, {&reader});
  return module;
}

bool same_as_unbroken(const Toy& module) {
  ToyData data;
  const auto unbroken = fit({.max_epochs = 2}, data, {});
  return at::equal(unbroken.module->net->weight, module.net->weight) && at::equal(unbroken.module->net->bias, module.net->bias);
}

}  // namespace

BOOST_AUTO_TEST_CASE(an_error_of_all_ranks_saves_the_last_complete_step) {
  const FolderOfRanks folder;
  const Broken broken(folder.path, [](Toy& toy) { toy.fail_at_step = 7; });
  BOOST_REQUIRE(broken.found.size() == 1u);
  BOOST_TEST(broken.found[0].path == folder.path / "on_exception");
  BOOST_TEST(broken.found[0].manifest.step == 7);
  BOOST_TEST(broken.found[0].manifest.epoch == 1);
  BOOST_TEST(same_as_unbroken(*resumed(broken.found[0].path)));
}

BOOST_AUTO_TEST_CASE(before_the_first_step_and_in_a_validation) {
  const FolderOfRanks first, validating;
  const Broken at_once(first.path, [](Toy& toy) { toy.fail_at_step = 0; });
  BOOST_REQUIRE(at_once.found.size() == 1u);
  BOOST_TEST(at_once.found[0].manifest.step == 0);
  BOOST_TEST(same_as_unbroken(*resumed(at_once.found[0].path)));

  int validations = 0;
  const Broken later(validating.path, [](Toy&) {}, {.on_validation_epoch_end = [&](levin::Trainer& trainer, levin::Module&) {
                       if (trainer.global_step() > 0 && ++validations == 2) throw std::runtime_error("the validation broke");
                     }});
  BOOST_REQUIRE(later.found.size() == 1u);
  BOOST_TEST(later.found[0].manifest.step == 10);
  BOOST_TEST(resumed(later.found[0].path)->calls["validation_step"] > 0);  // it is made again
}

BOOST_AUTO_TEST_CASE(an_error_during_an_update_saves_nothing) {
  const FolderOfRanks folder;
  const Broken broken(folder.path, [](Toy&) {}, {.on_before_optimizer_step = [](levin::Trainer& trainer, levin::Module&, std::string_view) {
                        if (trainer.global_step() == 3) throw std::runtime_error("the update broke");
                      }});
  BOOST_TEST(broken.found.empty());
}

BOOST_AUTO_TEST_CASE(a_rank_that_fails_alone_saves_nothing_and_waits_for_nobody_for_ever) {
  if (runtime().size() == 1) return;
  const FolderOfRanks folder;
  const Broken broken(folder.path, [](Toy& toy) {
    if (runtime().rank() == runtime().size() - 1) toy.fail_at_step = 7;
  });
  BOOST_TEST(broken.found.empty());
  for (const auto& entry : fs::directory_iterator(folder.path)) BOOST_ERROR(entry.path().string() + " was left");
}

BOOST_AUTO_TEST_CASE(a_model_checkpoint_saves_on_an_exception_if_configured) {
  const FolderOfRanks folder;
  levin::Trainer trainer({.max_epochs = 2}, runtime(), 5);
  trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(
      levin::ModelCheckpointConfig{.dirpath = folder.path, .save_on_exception = true, .in_background = false}));
  const auto module = trainer.build<Toy>();
  module->fail_at_step = 7;
  ToyData data;
  BOOST_CHECK_THROW(trainer.fit(*module, data), std::exception);
  MPI_Barrier(runtime().communicator());
  const auto found = levin::list_checkpoints(folder.path).checkpoints;
  BOOST_REQUIRE(found.size() == 2u);
  BOOST_TEST(found[0].manifest.step == 5);
  BOOST_TEST(found[1].path == folder.path / "step=000007");
  BOOST_TEST(same_as_unbroken(*resumed(found[1].path)));
}

// Whichever of the two is first, and however they write the folder's path.
BOOST_AUTO_TEST_CASE(a_folder_has_the_options_of_its_model_checkpoint) {
  const std::map<std::string, std::string> hints{{"striping_factor", "2"}};
  for (const bool comes_first : {true, false}) {
    const FolderOfRanks folder;
    const auto opened = static_cast<std::ptrdiff_t>(opened_files().size());
    levin::Trainer trainer({.max_epochs = 2}, runtime(), 5);
    const auto on_exception = std::make_shared<OnExceptionCheckpoint>(levin::OnExceptionCheckpointConfig{.dirpath = folder.path / "."});
    if (comes_first) trainer.add_callback(on_exception);
    trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(
        levin::ModelCheckpointConfig{.dirpath = folder.path, .in_background = false, .mpi_io_hints = hints}));
    if (!comes_first) trainer.add_callback(on_exception);
    const auto module = trainer.build<Toy>();
    module->fail_at_step = 7;
    ToyData data;
    BOOST_CHECK_THROW(trainer.fit(*module, data), std::exception);
    MPI_Barrier(runtime().communicator());
    BOOST_TEST(levin::list_checkpoints(folder.path).checkpoints.size() == 2u);
    if (runtime().rank() != 0) continue;
    for (const std::string name : {"step=000005", "on_exception"}) {
      const auto has_hints = [&](const OpenedFile& file) { return file.name.find(name) != std::string::npos && file.hints == hints; };
      BOOST_TEST(std::any_of(opened_files().begin() + opened, opened_files().end(), has_hints), name << ", " << comes_first);
    }
  }
}

BOOST_AUTO_TEST_CASE(name_and_folder_are_checked_before_the_training) {
  for (const char* name : {"", ".hidden", "a/b", "last"})
    check_throws<levin::ConfigError>([&] { OnExceptionCheckpoint({.filename = name}); }, {"filename", "without a path"});
  levin::Trainer trainer({.max_epochs = 1}, runtime());
  trainer.add_callback(std::make_shared<OnExceptionCheckpoint>());
  const auto module = trainer.build<Toy>();
  ToyData data;
  try {
    trainer.fit(*module, data);
    BOOST_ERROR("nothing was thrown");
  } catch (const levin::Error& error) {  // its own, or that of a rank that was faster
    BOOST_TEST(std::string(error.what()).find("has no folder") != std::string::npos, error.what());
  }
}

BOOST_AUTO_TEST_SUITE_END()
