#include "levin/data/stream_loader.h"

#include <ATen/ops/arange.h>

#include "counting_stream.h"
#include "levin/comm/communicator.h"
#include "levin/core/error.h"
#include "levin_test.h"

using levin::DataLoaderOptions;
using levin::StreamLoader;
using levin::test::CountingStream;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(data_stream_loader)

namespace {

std::unique_ptr<levin::Communicator> world() { return levin::Communicator::create_cpu(runtime()); }

StreamLoader loader(levin::Communicator& communicator, std::vector<int64_t> samples, const DataLoaderOptions& options,
                    int64_t accumulate = 1) {
  return StreamLoader(std::make_shared<CountingStream>(std::move(samples)), options,
                      {.rank = communicator.rank(), .world_size = communicator.size(), .accumulate = accumulate}, communicator);
}

// What a rank got in an epoch: "3 3 1 -", a batch's samples, or - for a padding batch.
std::string sizes(StreamLoader& loader) {
  std::string text;
  while (const auto* batch = loader.next()) {
    text += (text.empty() ? "" : " ") + (batch->padding() ? "-" : std::to_string(batch->size()));
    BOOST_TEST(batch->weight() == (batch->padding() ? 0 : static_cast<double>(batch->size())));
    if (batch->padding()) BOOST_TEST(batch->size() == 2);
  }
  return text;
}

}  // namespace

BOOST_AUTO_TEST_CASE(an_epoch_ends_with_the_longest_stream) {
  const auto communicator = world();
  const int rank = runtime().rank(), size = runtime().size();
  const std::vector<std::string> alone{"3 3 1"}, two{"3 3 1 -", "3 3 3 3"}, three{"3 3 1 - -", "3 3 3 3 -", "3 3 3 3 3"};
  const auto& expected = size == 1 ? alone : size == 2 ? two : three;
  for (int64_t workers : {0, 2}) {
    StreamLoader stream = loader(*communicator, {7, 12, 15}, {.batch_size = 3, .num_workers = workers});
    for (int64_t epoch = 0; epoch < 3; epoch++) {
      stream.set_epoch(epoch);
      BOOST_TEST(sizes(stream) == expected[static_cast<size_t>(rank)]);
      BOOST_TEST(stream.next() == nullptr);
    }
    BOOST_TEST(!stream.length());
  }
}

BOOST_AUTO_TEST_CASE(samples_of_all_ranks_are_counted_and_the_end_is_known_at_the_last_batch) {
  const auto communicator = world();
  StreamLoader stream = loader(*communicator, {3, 5, 1}, {.batch_size = 2});
  int64_t samples = 0;
  bool ended = false;
  while (stream.next()) {
    BOOST_TEST(!ended);
    samples += stream.global_samples();
    ended = stream.at_end();
  }
  BOOST_TEST(ended);
  BOOST_TEST(samples == (runtime().size() == 1 ? 3 : runtime().size() == 2 ? 8 : 9));
}

BOOST_AUTO_TEST_CASE(values_are_the_streams_own_in_order) {
  const auto communicator = world();
  for (int64_t workers : {0, 3}) {
    StreamLoader stream = loader(*communicator, {10, 10, 10}, {.batch_size = 4, .num_workers = workers});
    stream.set_epoch(2);
    BOOST_TEST(stream.wait(1, std::chrono::seconds(60)));
    std::vector<double> seen;
    while (const auto* batch = stream.next())
      for (int64_t row = 0; row < batch->size(); row++) seen.push_back((*batch)["index"][row].item<double>());
    BOOST_REQUIRE(seen.size() == 10u);
    for (size_t i = 0; i < 10; i++) BOOST_TEST(seen[i] == 20000 + runtime().rank() * 1000 + static_cast<double>(i));
  }
}

BOOST_AUTO_TEST_CASE(samples_are_numbered_over_the_ranks) {
  const auto communicator = world();
  StreamLoader stream = loader(*communicator, {5, 4, 7}, {.batch_size = 3});
  for (int64_t epoch = 0; epoch < 2; epoch++) {
    stream.set_epoch(epoch);
    int64_t expected = runtime().rank();
    while (const auto* batch = stream.next()) {
      BOOST_TEST(batch->indices().size() == (batch->padding() ? 0u : static_cast<size_t>(batch->size())));
      for (int64_t index : batch->indices()) BOOST_TEST(index == std::exchange(expected, expected + runtime().size()));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_global_batch_is_cut_over_micro_batches_and_ranks) {
  const auto communicator = world();
  StreamLoader stream = loader(*communicator, {100, 100, 100}, {.global_batch_size = 13}, 2);
  int64_t step = 0;
  for (int micro = 0; micro < 2; micro++) {
    stream.next();
    step += stream.global_samples();
  }
  BOOST_TEST(step == 13);
}

BOOST_AUTO_TEST_CASE(an_epoch_left_early_starts_over) {
  const auto communicator = world();
  StreamLoader stream = loader(*communicator, {50, 50, 50}, {.batch_size = 4, .num_workers = 2});
  for (int64_t epoch = 0; epoch < 3; epoch++) {
    stream.set_epoch(epoch);
    BOOST_TEST((*stream.next())["index"][0].item<double>() == static_cast<double>(10000 * epoch + 1000 * runtime().rank()));
    stream.next();
  }
}

BOOST_AUTO_TEST_CASE(mistakes) {
  const auto communicator = world();
  using levin::test::check_throws;
  StreamLoader empty = loader(*communicator, {0, 0, 0}, {});
  check_throws<levin::DataError>([&] { empty.next(); }, {"rank " + std::to_string(runtime().rank()), "no samples in epoch 0"});
  check_throws<levin::ConfigError>(
      [&] {
        loader(*communicator, {1, 1, 1}, {.batch_size = 1, .global_batch_size = 8});
      },
      {"batch_size is 1"});
  communicator->barrier();
}

BOOST_AUTO_TEST_SUITE_END()
