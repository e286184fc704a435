// CheckpointWriter::save_async: the state may change when the call returns, all ranks learn of the end at the same poll.
#include <ATen/ops/full.h>
#include <sys/resource.h>

#include <algorithm>

#include "checkpoint_sample.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using levin::CheckpointReader;
using levin::CheckpointWriter;
using levin::Communicator;
using Names = std::vector<std::string>;

BOOST_AUTO_TEST_SUITE(checkpoint_save_in_background)

namespace {

struct Ranks {
  std::unique_ptr<Communicator> communicator = Communicator::create_cpu(runtime());
  int rank = communicator->rank(), size = communicator->size(), last = size - 1;
  SharedFolder folder{*communicator};

  void check(const std::string& name, int64_t step) {
    check_sample(CheckpointReader(folder.path / name, *communicator), step, rank, size);
    communicator->barrier();
  }
};

// As in a training that continues: the memory is reused at once.
void save_and_forget(CheckpointWriter& writer, const std::string& name, int64_t step, const Ranks& ranks) {
  const Sample sample(step, ranks.rank, ranks.size);
  writer.save_async({.name = name, .step = step}, sample.state);
  for (const auto& tensor : sample.tensors) tensor.zero_();
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_copy_may_lie_on_a_disk) {
  Ranks ranks;
  const SharedFolder staging(*ranks.communicator);
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .staging_directory = staging.path});
  for (const int64_t step : {1, 2}) {
    save_and_forget(writer, "a", step, ranks);
    BOOST_TEST(names_in(staging.path).empty());  // nothing that a killed job could leave
    const auto report = writer.finish();
    BOOST_REQUIRE(report);
    BOOST_TEST(report->in_background);
    ranks.check("a", step);
  }
  check_throws<levin::IoError>(
      [&] { CheckpointWriter(*ranks.communicator, ranks.folder.path, {.staging_directory = staging.path / "none"}); },
      {"cannot create a file in the staging directory", "none", "No such file or directory"});
}

BOOST_AUTO_TEST_CASE(all_ranks_learn_of_the_end_at_the_same_poll) {
  Ranks ranks;
  for (const int threads : {1, 3}) {
    CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .copy_threads = threads});
    BOOST_TEST(!writer.poll());
    BOOST_TEST(!writer.saving());
    for (const int64_t step : {1, 2, 3}) {
      save_and_forget(writer, "a", step, ranks);
      int64_t polls = 1;
      BOOST_TEST(writer.saving());
      std::optional<levin::SaveReport> report;
      while (!(report = writer.poll())) polls++;
      BOOST_TEST(!writer.saving());
      BOOST_TEST(!writer.poll());
      BOOST_TEST(report->in_background);
      BOOST_TEST(report->blocked_seconds <= report->seconds);
      BOOST_TEST(report->path == ranks.folder.path / "a");
      const auto all = at::full({ranks.size}, 0, at::kLong);
      ranks.communicator->all_gather(all, at::full({1}, polls, at::kLong)).wait();
      BOOST_TEST(all.eq(polls).all().item<bool>());
      ranks.check("a", step);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_save_waits_for_the_one_before) {
  Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path);
  for (const int64_t step : {1, 2, 3}) save_and_forget(writer, fmt::format("async-{}", step), step, ranks);
  writer.save({.name = "now", .step = 4}, Sample(4, ranks.rank, ranks.size).state);
  BOOST_TEST(!writer.finish());
  for (const int64_t step : {1, 2, 3}) ranks.check(fmt::format("async-{}", step), step);
  ranks.check("now", 4);
}

BOOST_AUTO_TEST_CASE(the_end_of_a_run_waits_and_tells_how_far_it_is) {
  Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false});
  const Sample sample(5, ranks.rank, ranks.size, 4000000);
  writer.save_async({.name = "a", .step = 5}, sample.state);
  uint64_t before = 0, all = 0;
  const auto report = writer.finish([&](uint64_t written_bytes, uint64_t all_bytes) {
    BOOST_TEST(written_bytes >= before);
    BOOST_TEST(written_bytes <= all_bytes);
    before = written_bytes;
    all = all_bytes;
  });
  BOOST_REQUIRE(report.has_value());
  BOOST_TEST(all > 16000000u);
  BOOST_TEST(all <= report->bytes);
}

BOOST_AUTO_TEST_CASE(a_failure_is_reported_at_a_poll_and_the_next_save_succeeds) {
  Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .write_last = false});
  save_and_forget(writer, "before", 1, ranks);
  writer.finish();
  for (const int bad : {0, ranks.last}) {
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    // Large enough for the layout, which all wait for; too small for the data.
    const rlimit small{std::filesystem::file_size(ranks.folder.path / "before/state.h5") - 4096, before.rlim_max};
    const Sample sample(2, ranks.rank, ranks.size);
    const auto& state = sample.state;
    if (bad == 0) {
      if (ranks.rank == bad) setrlimit(RLIMIT_FSIZE, &small);
      check_throws<levin::IoError>([&] { writer.save_async({.name = "a", .step = 2}, state); }, {"File too large"});
    } else {
      writer.save_async({.name = "a", .step = 2}, state);
      ranks.communicator->barrier();
      if (ranks.rank == 0) std::filesystem::remove_all(ranks.folder.path / names_in(ranks.folder.path).front());
      check_throws<levin::IoError>([&] { writer.finish(); }, {"[checkpoint]", "rank 0", ".a.partial-", "No such file"});
    }
    setrlimit(RLIMIT_FSIZE, &before);
    BOOST_TEST(!writer.saving());
    BOOST_TEST(!writer.poll());
    ranks.communicator->barrier();
    BOOST_TEST(names_in(ranks.folder.path) == Names{"before"});
  }
  save_and_forget(writer, "after", 3, ranks);
  writer.finish();
  ranks.check("before", 1);
  ranks.check("after", 3);
}

BOOST_AUTO_TEST_CASE(an_invalid_state_of_one_rank_is_an_error_on_all) {
  Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false});
  const Sample sample(2, ranks.rank, ranks.size);
  auto state = sample.state;
  if (ranks.rank == ranks.last) state.pieces[0].name = "unknown";
  check_throws<levin::UsageError>([&] { writer.save_async({.name = "a", .step = 2}, state); },
                                  {"invalid piece: unknown tensor \"unknown\""});
  BOOST_TEST(!writer.saving());
  ranks.communicator->barrier();
  BOOST_TEST(names_in(ranks.folder.path).empty());
}

BOOST_AUTO_TEST_CASE(a_destroyed_writer_abandons_its_save) {
  Ranks ranks;
  {
    CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false});
    const Sample sample(5, ranks.rank, ranks.size, 4000000);
    writer.save_async({.name = "a", .step = 5}, sample.state);
  }
  ranks.communicator->barrier();
  BOOST_TEST(names_in(ranks.folder.path).empty());
}

BOOST_AUTO_TEST_SUITE_END()
