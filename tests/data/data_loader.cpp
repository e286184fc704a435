#include "levin/data/data_loader.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>

#include "levin/core/error.h"
#include "levin/data/tensor_dataset.h"
#include "levin_test.h"

using levin::Batch;
using levin::ConfigError;
using levin::DataError;
using levin::DataLoader;
using levin::DataLoaderOptions;
using levin::LoaderPartition;
using levin::TensorDataset;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(data_data_loader)

namespace {

std::shared_ptr<const TensorDataset> numbers(int64_t count) {
  return std::make_shared<TensorDataset>(TensorDataset({{"value", at::arange(count * 3).view({count, 3})}}));
}

DataLoaderOptions options(int64_t batch_size, int64_t num_workers = 0, bool shuffle = true) {
  DataLoaderOptions result;
  result.batch_size = batch_size;
  result.num_workers = num_workers;
  result.shuffle = shuffle;
  return result;
}

// Indices of the rest of an epoch, checked against the tensors; padding batches give none.
std::vector<int64_t> drain(DataLoader& loader) {
  std::vector<int64_t> all;
  while (const Batch* batch = loader.next()) {
    if (batch->padding()) {
      BOOST_TEST(batch->size() == 2);
      BOOST_TEST(batch->weight() == 0.0);
      BOOST_TEST(batch->indices().empty());
      continue;
    }
    BOOST_REQUIRE(batch->size() == static_cast<int64_t>(batch->indices().size()));
    for (size_t row = 0; row < batch->indices().size(); ++row)
      BOOST_REQUIRE((*batch)["value"][static_cast<int64_t>(row)][1].item<int64_t>() == batch->indices()[row] * 3 + 1);
    all.insert(all.end(), batch->indices().begin(), batch->indices().end());
  }
  return all;
}

int64_t threads_of_this_process() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator());
}

// Fails once on each of the samples in `bad`.
class FailingDataset : public TensorDataset {
 public:
  explicit FailingDataset(int64_t bad) : TensorDataset({{"value", at::arange(300).view({100, 3})}}), bad_(bad) {}
  void get(std::span<const int64_t> indices, Batch& into) const override {
    if (std::find(indices.begin(), indices.end(), bad_) != indices.end() && !failed_.exchange(true)) throw DataError("a bad sample");
    TensorDataset::get(indices, into);
  }

 private:
  int64_t bad_;
  mutable std::atomic<bool> failed_ = false;
};

// Gives nothing until it is opened.
class GatedDataset : public TensorDataset {
 public:
  GatedDataset() : TensorDataset({{"value", at::arange(300).view({100, 3})}}) {}
  void get(std::span<const int64_t> indices, Batch& into) const override {
    open.wait(false);
    TensorDataset::get(indices, into);
  }
  mutable std::atomic<bool> open = false;
};

}  // namespace

BOOST_AUTO_TEST_CASE(order_does_not_depend_on_workers) {
  const auto data = numbers(1000);
  DataLoader plain(data, options(7), {.seed = 5});
  for (const int64_t workers : {1, 2, 3}) {
    DataLoader loader(data, options(7, workers), {.seed = 5});
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      plain.set_epoch(epoch);
      loader.set_epoch(epoch);
      const auto expected = drain(plain), got = drain(loader);
      BOOST_TEST(expected.size() == 1000U);
      BOOST_TEST(got == expected, boost::test_tools::per_element());
      BOOST_TEST((loader.next() == nullptr));
    }
  }
}

BOOST_AUTO_TEST_CASE(epochs_and_seeds_give_other_orders) {
  const auto data = numbers(50);
  std::set<std::vector<int64_t>> orders;
  for (const uint64_t seed : {0, 1}) {
    DataLoader loader(data, options(8), {.seed = seed});
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      loader.set_epoch(epoch);
      orders.insert(drain(loader));
    }
    loader.set_epoch(0);
    orders.insert(drain(loader));  // the same again
  }
  BOOST_TEST(orders.size() == 6U);
  DataLoader sequential(data, options(8).for_evaluation());
  const auto in_order = drain(sequential);
  BOOST_TEST(std::is_sorted(in_order.begin(), in_order.end()));
}

BOOST_AUTO_TEST_CASE(ranks_share_every_sample_once) {
  for (const int64_t samples : {1, 5, 64, 101})
    for (int64_t world = 1; world <= 4; ++world)
      for (const int64_t workers : {0, 2}) {
        const auto data = numbers(samples);
        std::vector<int64_t> all;
        std::set<int64_t> batches;
        for (int64_t rank = 0; rank < world; ++rank) {
          DataLoader loader(data, options(8, workers), {.rank = rank, .world_size = world, .accumulate = 2});
          const auto mine = drain(loader);
          all.insert(all.end(), mine.begin(), mine.end());
          batches.insert(loader.batches());
          BOOST_TEST(loader.position() == loader.batches());
        }
        BOOST_TEST(batches.size() == 1U);
        std::sort(all.begin(), all.end());
        BOOST_REQUIRE(static_cast<int64_t>(all.size()) == samples);
        for (int64_t i = 0; i < samples; ++i) BOOST_REQUIRE(all[static_cast<size_t>(i)] == i);
      }
}

BOOST_AUTO_TEST_CASE(global_batches_hold_the_same_samples_on_any_number_of_ranks) {
  const auto data = numbers(150);
  std::vector<std::vector<int64_t>> steps_of_one;
  for (int64_t world = 1; world <= 4; ++world)
    for (const int64_t accumulate : {1, 3}) {
      DataLoaderOptions global;
      global.global_batch_size = 64;
      std::vector<std::vector<int64_t>> steps(3);
      std::vector<std::unique_ptr<DataLoader>> loaders;
      for (int64_t rank = 0; rank < world; ++rank)
        loaders.push_back(std::make_unique<DataLoader>(data, global, LoaderPartition{rank, world, accumulate, 9}));
      for (int64_t batch = 0; batch < loaders[0]->batches(); ++batch)
        for (auto& loader : loaders) {
          const auto& indices = loader->next()->indices();
          auto& step = steps[static_cast<size_t>(loader->plan().step_of(batch))];
          step.insert(step.end(), indices.begin(), indices.end());
        }
      if (steps_of_one.empty()) steps_of_one = steps;
      BOOST_TEST((steps == steps_of_one));  // the same order, too
    }
}

BOOST_AUTO_TEST_CASE(resumes_where_it_stopped) {
  const auto data = numbers(100);
  for (const int64_t workers : {0, 2}) {
    DataLoader whole(data, options(7, workers), {.seed = 3});
    whole.set_epoch(4);
    for (int64_t batches = 0; batches <= whole.batches(); ++batches) {
      whole.set_epoch(4);
      for (int64_t i = 0; i < batches; ++i) whole.next();
      const auto state = whole.state();
      const auto rest = drain(whole);
      DataLoader resumed(data, options(7, workers), {.seed = 3});
      resumed.restore(state);
      BOOST_TEST(resumed.position() == batches);
      BOOST_TEST(drain(resumed) == rest, boost::test_tools::per_element());
    }
  }
}

BOOST_AUTO_TEST_CASE(resumes_with_another_number_of_ranks) {
  const auto data = numbers(100);
  DataLoaderOptions global;
  global.global_batch_size = 24;
  DataLoader two(data, global, {.rank = 0, .world_size = 2, .accumulate = 3});
  for (int i = 0; i < 6; ++i) two.next();
  BOOST_TEST(two.state().samples == 48);
  DataLoader three(data, global, {.rank = 0, .world_size = 3, .accumulate = 2});
  three.restore(two.state());
  BOOST_TEST(three.position() == 4);
  DataLoader other(data, options(25), {});
  check_throws<ConfigError>([&] { other.restore(two.state()); }, {"48", "25", "global batch"});
}

BOOST_AUTO_TEST_CASE(a_batch_that_is_kept_does_not_change) {
  const auto data = numbers(64);
  for (const int64_t workers : {0, 2}) {
    DataLoader loader(data, options(8, workers), {});
    std::vector<Batch> kept;
    std::vector<at::Tensor> copies, views;
    while (const Batch* batch = loader.next()) {
      if (kept.size() % 2 == 0)
        kept.push_back(*batch);
      else
        kept.push_back(Batch{{"value", (*batch)["value"].view({-1})}});
      copies.push_back((*batch)["value"].clone());
    }
    for (size_t i = 0; i < kept.size(); ++i) BOOST_TEST(at::equal(kept[i]["value"].view({-1, 3}), copies[i]));
  }
}

BOOST_AUTO_TEST_CASE(memory_is_used_again) {
  DataLoader loader(numbers(64 * 100), options(64, 2), {});
  std::set<const void*> addresses;
  while (const Batch* batch = loader.next()) addresses.insert((*batch)["value"].const_data_ptr());
  BOOST_TEST(addresses.size() <= 5U);  // 2 workers x 2 ahead, and the one in use
}

BOOST_AUTO_TEST_CASE(an_exception_of_a_worker_arrives_at_its_batch) {
  for (const int64_t workers : {0, 1, 3}) {
    DataLoader loader(std::make_shared<FailingDataset>(35), options(10, workers, false), {});
    for (int i = 0; i < 3; ++i) loader.next();
    check_throws<DataError>([&] { loader.next(); }, {"a bad sample"});
    BOOST_TEST(loader.position() == 3);
    const Batch* batch = loader.next();  // the same batch, which is good now
    BOOST_REQUIRE(batch);
    BOOST_TEST(batch->indices().front() == 30);
    BOOST_TEST(drain(loader).size() == 60U);
  }
}

BOOST_AUTO_TEST_CASE(threads_end_with_the_loader) {
  const auto before = threads_of_this_process();
  for (int i = 0; i < 20; ++i) {
    DataLoader loader(numbers(1000), options(1, 3), {});
    for (int batch = 0; batch < i; ++batch) loader.next();  // ends in the middle of an epoch
    BOOST_TEST(threads_of_this_process() == before + 3);
    if (i % 2) loader.set_epoch(1);
  }
  BOOST_TEST(threads_of_this_process() == before);
}

BOOST_AUTO_TEST_CASE(epochs_may_be_left_early) {
  DataLoader loader(numbers(100), options(5, 2), {.seed = 1}), plain(numbers(100), options(5), {.seed = 1});
  for (int64_t epoch = 0; epoch < 50; ++epoch) {
    loader.set_epoch(epoch);
    plain.set_epoch(epoch);
    for (int64_t i = 0; i < epoch % 4; ++i)
      BOOST_TEST(loader.next()->indices() == plain.next()->indices(), boost::test_tools::per_element());
  }
}

// Each batch lies in two blocks at most, on any number of ranks, with and without threads.
BOOST_AUTO_TEST_CASE(shuffled_in_blocks) {
  auto in_blocks = options(10, 2);
  in_blocks.shuffle_block = 10;
  in_blocks.shuffle_mixed_blocks = 1;
  DataLoader loader(numbers(95), in_blocks, {.seed = 1});
  std::vector<int64_t> all;
  while (const Batch* batch = loader.next()) {
    std::set<int64_t> blocks;
    for (const int64_t index : batch->indices()) blocks.insert(index / 10);
    BOOST_TEST(blocks.size() <= 2U);
    all.insert(all.end(), batch->indices().begin(), batch->indices().end());
  }
  BOOST_TEST(std::set<int64_t>(all.begin(), all.end()).size() == 95U);
  std::vector<int64_t> of_ranks;
  auto halves = in_blocks;
  halves.batch_size = 5;
  DataLoader first(numbers(95), halves, {.rank = 0, .world_size = 2, .seed = 1}),
      second(numbers(95), halves, {.rank = 1, .world_size = 2, .seed = 1});
  while (const Batch* batch = first.next()) {
    of_ranks.insert(of_ranks.end(), batch->indices().begin(), batch->indices().end());
    const Batch* other = second.next();
    of_ranks.insert(of_ranks.end(), other->indices().begin(), other->indices().end());
  }
  BOOST_TEST(of_ranks == all, boost::test_tools::per_element());
  loader.set_epoch(1);
  BOOST_CHECK(drain(loader) != all);
  loader.set_epoch(1);
  for (int i = 0; i < 4; ++i) loader.next();
  DataLoader resumed(numbers(95), in_blocks, {.seed = 1});
  BOOST_TEST(resumed.restore(loader.state()) == 4);
  BOOST_TEST(drain(resumed) == drain(loader), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(bad_input) {
  check_throws<DataError>([] { DataLoader(numbers(0), options(5), {}); }, {"no samples"});
  check_throws<ConfigError>([] { DataLoader(numbers(5), options(0), {}); }, {"batch_size", "\"0\"", "at least 1"});
  check_throws<ConfigError>([] { DataLoader(numbers(5), options(5, -1), {}); }, {"num_workers", "\"-1\"", "0 to 1024"});
  auto both = options(5);
  both.global_batch_size = 10;
  check_throws<ConfigError>([&] { DataLoader(numbers(5), both, {}); }, {"batch_size is 5", "global_batch_size is 10"});
  auto dropped = options(5);
  dropped.drop_last = true;
  check_throws<ConfigError>([&] { DataLoader(numbers(9), dropped, {.rank = 0, .world_size = 2}); },
                            {"drop_last", "9 samples", "batch_size of 5", "2 ranks"});
  DataLoader by_default(numbers(100), {}, {});
  BOOST_TEST(by_default.next()->size() == 32);
}

BOOST_AUTO_TEST_CASE(a_wait_for_data_has_a_limit) {
  using namespace std::chrono_literals;
  const auto data = std::make_shared<GatedDataset>();
  DataLoader loader(data, options(10, 2, /*shuffle=*/false));
  BOOST_TEST(loader.reads_ahead());
  BOOST_TEST(!loader.wait(1, 0ms));
  BOOST_TEST(!loader.wait(1, 20ms));
  BOOST_TEST(!loader.stop_reading(20ms));  // both threads read
  data->open = true;
  data->open.notify_all();
  BOOST_TEST(loader.stop_reading(60s));
  BOOST_TEST(loader.state().samples == 0);  // nothing is lost
  BOOST_TEST(loader.wait(1000, 60s));       // as many as are read ahead
  BOOST_TEST(drain(loader).size() == 100U);
  BOOST_TEST(loader.wait(1, 0ms));  // there is none to wait for
  loader.set_epoch(1);
  BOOST_TEST(loader.wait(3, 60s));
  BOOST_TEST(loader.wait(3, 0ms));
  BOOST_TEST(drain(loader).size() == 100U);
}

BOOST_AUTO_TEST_CASE(an_error_ends_the_wait_for_data) {
  using namespace std::chrono_literals;
  DataLoader loader(std::make_shared<FailingDataset>(5), options(10, 1, /*shuffle=*/false));
  BOOST_TEST(loader.wait(3, 60s));
  check_throws<DataError>([&] { loader.next(); }, {"a bad sample"});
  BOOST_TEST(loader.wait(1, 60s));
  BOOST_TEST(drain(loader).size() == 100U);
  DataLoader without_threads(numbers(100), options(10));
  BOOST_TEST((without_threads.wait(3, 0ms) && without_threads.stop_reading(0ms) && !without_threads.reads_ahead()));
}

BOOST_AUTO_TEST_SUITE_END()
