// What the script kill_test runs and kills: a job that saves without end, and a look at what it left.
#include <unistd.h>

#include <boost/test/framework.hpp>
#include <cstdlib>
#include <iostream>
#include <optional>

#include "checkpoint_sample.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/checkpoint/retention.h"
#include "levin_test.h"

using namespace levin::test;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(checkpoint_saver, *boost::unit_test::disabled())

namespace {

constexpr int64_t extra = 3000000;
// Steps that have the same values: to make them takes longer than to save them.
int64_t values_of(int64_t step) { return step / 16; }

std::string argument(int number) {
  const auto& suite = boost::unit_test::framework::master_test_suite();
  BOOST_REQUIRE(suite.argc > number);
  return suite.argv[number];
}

void keep_few(const fs::path& folder) {
  std::vector<levin::KeptCheckpoint> kept;
  for (const auto& checkpoint : levin::list_checkpoints(folder).checkpoints)
    kept.push_back({checkpoint.path.filename().string(), checkpoint.manifest.step, {}});
  for (const auto& name : levin::checkpoints_to_remove(kept, {.save_top_k = 0})) levin::remove_checkpoint(folder / name);
}

}  // namespace

BOOST_AUTO_TEST_CASE(save) {
  const auto communicator = levin::Communicator::create_cpu(runtime());
  const int rank = communicator->rank(), size = communicator->size();
  const fs::path folder = argument(1);
  std::cout << fmt::format("pid {}\n", getpid()) << std::flush;
  levin::CheckpointWriter writer(*communicator, folder, {.fsync = false});
  const auto newest = levin::newest_checkpoint(folder, *communicator);
  int64_t step = newest.reader ? newest.reader->manifest().step + 1 : 1;
  std::optional<Sample> sample(std::in_place, values_of(step), rank, size, extra);
  for (;; step++) {
    if (step % 16 == 0) sample.emplace(values_of(step), rank, size, extra);
    const levin::CheckpointInfo info{.name = fmt::format("step={}", step), .step = step};
    if (step % 2 == 0) {
      writer.save(info, sample->state);
    } else {
      writer.save_async(info, sample->state);
      while (!writer.poll()) usleep(200);  // a step of the training
    }
    if (rank != 0) continue;
    std::cout << fmt::format("committed {}\n", step) << std::flush;
    keep_few(folder);
  }
}

BOOST_AUTO_TEST_CASE(check) {
  const auto communicator = levin::Communicator::create_cpu(runtime());
  const fs::path folder = argument(1);
  const auto newest = levin::newest_checkpoint(folder, *communicator);
  BOOST_REQUIRE(newest.reader);
  for (const auto& why : newest.refused) BOOST_ERROR(why);  // a killed save leaves nothing that looks like a checkpoint
  const int64_t step = newest.reader->manifest().step;
  BOOST_TEST(step >= std::atoll(argument(2).c_str()));
  check_sample(*newest.reader, values_of(step), 0, 1, extra);
  const size_t leftovers = levin::remove_leftovers(folder).size();
  for (const auto& entry : fs::directory_iterator(folder))
    BOOST_CHECK_MESSAGE(!entry.is_directory() || !entry.path().filename().string().starts_with('.'), entry.path() << " was left");
  std::cout << fmt::format("step {}, {} leftovers\n", step, leftovers) << std::flush;
}

BOOST_AUTO_TEST_SUITE_END()
