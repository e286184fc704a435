#include "levin/data/combined_loader.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>

#include <map>
#include <set>

#include "levin/core/error.h"
#include "levin/data/tensor_dataset.h"
#include "levin_test.h"

using levin::Batch;
using levin::CombinedLoader;
using levin::CombinedMode;
using levin::CombinedPart;
using levin::ConfigError;
using levin::DataLoaderOptions;
using levin::LoaderPartition;
using levin::Tensor;
using levin::UsageError;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(data_combined_loader)

namespace {

CombinedPart part(const std::string& name, int64_t samples, int64_t batch_size, int64_t first = 0, int64_t workers = 0) {
  DataLoaderOptions options;
  options.batch_size = batch_size;
  options.num_workers = workers;
  return {name, std::make_shared<levin::TensorDataset>(levin::TensorDataset({{"x", at::arange(first, first + samples)}})), options};
}

std::vector<int64_t> values(const Tensor& tensor) {
  const auto* data = tensor.const_data_ptr<int64_t>();
  return {data, data + tensor.numel()};
}

/// The values of all tensors of a batch, one text for each.
std::string text_of(const Batch& batch) {
  std::string text = std::to_string(batch.dataloader_idx());
  for (const auto& [name, tensor] : batch.tensors()) {
    text += " " + name;
    for (const auto value : values(tensor)) text += " " + std::to_string(value);
  }
  return text;
}

std::vector<std::string> drain(CombinedLoader& loader) {
  std::vector<std::string> all;
  while (const Batch* batch = loader.next()) {
    all.push_back(text_of(*batch));
    BOOST_TEST(loader.wait(1, std::chrono::seconds(60)));
  }
  BOOST_TEST(loader.at_end());
  return all;
}

// 10, 3 and 7 batches.
CombinedLoader three(CombinedMode mode, const LoaderPartition& partition = {}) {
  return CombinedLoader({part("a", 40, 4), part("b", 6, 2, 100), part("c", 21, 3, 200, 2)}, mode, partition);
}

}  // namespace

BOOST_AUTO_TEST_CASE(min_size_ends_with_the_shortest) {
  CombinedLoader loader = three(CombinedMode::min_size);
  BOOST_TEST(*loader.length() == 3);
  std::set<int64_t> seen_b, seen_a;
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    loader.set_epoch(epoch);
    int64_t batches = 0;
    while (const Batch* batch = loader.next()) {
      ++batches;
      BOOST_TEST((*batch)["a/x"].size(0) == 4);
      BOOST_TEST((*batch)["b/x"].size(0) == 2);
      BOOST_TEST((*batch)["c/x"].size(0) == 3);
      BOOST_TEST(batch->indices().size() == 2U);  // those of b, which leads
      BOOST_TEST(batch->weight() == 2);
      BOOST_TEST(loader.global_samples() == 2);
      for (const auto value : values((*batch)["b/x"])) seen_b.insert(value);
      for (const auto value : values((*batch)["a/x"])) seen_a.insert(value);
    }
    BOOST_TEST(batches == 3);
  }
  BOOST_TEST(seen_b.size() == 6U);
  BOOST_TEST(seen_a.size() > 12U);  // another epoch takes other samples
}

BOOST_AUTO_TEST_CASE(max_size_cycle_begins_the_others_again_in_a_new_order) {
  CombinedLoader loader = three(CombinedMode::max_size_cycle);
  BOOST_TEST(*loader.length() == 10);
  std::set<int64_t> seen_a;
  std::vector<std::vector<int64_t>> cycles(1);
  while (const Batch* batch = loader.next()) {
    for (const auto value : values((*batch)["a/x"])) seen_a.insert(value);
    if (cycles.back().size() == 6) cycles.emplace_back();
    for (const auto value : values((*batch)["b/x"])) cycles.back().push_back(value);
  }
  BOOST_TEST(seen_a.size() == 40U);
  BOOST_REQUIRE(cycles.size() == 4U);  // of 3, 3, 3 and 1 batches
  for (size_t i = 0; i < 3; ++i) BOOST_TEST(std::set<int64_t>(cycles[i].begin(), cycles[i].end()).size() == 6U);
  BOOST_CHECK(cycles[0] != cycles[1] || cycles[1] != cycles[2]);
}

BOOST_AUTO_TEST_CASE(parts_of_one_size_have_unlike_orders) {
  CombinedLoader loader({part("a", 64, 8), part("b", 64, 8)}, CombinedMode::min_size, {.seed = 3});
  int64_t equal = 0;
  while (const Batch* batch = loader.next()) equal += (*batch)["a/x"].eq((*batch)["b/x"]).sum().item<int64_t>();
  BOOST_TEST(equal < 10);  // 1 is expected
}

BOOST_AUTO_TEST_CASE(sequential_takes_all_of_each) {
  CombinedLoader loader = three(CombinedMode::sequential);
  BOOST_TEST(*loader.length() == 20);
  std::vector<int64_t> of_part(3);
  std::set<int64_t> seen;
  while (const Batch* batch = loader.next()) {
    ++of_part[static_cast<size_t>(batch->dataloader_idx())];
    for (const auto value : values((*batch)["x"])) seen.insert(value);
  }
  BOOST_TEST(of_part == (std::vector<int64_t>{10, 3, 7}), boost::test_tools::per_element());
  BOOST_TEST(seen.size() == 67U);
}

BOOST_AUTO_TEST_CASE(resumes_at_every_batch) {
  for (const auto mode : {CombinedMode::min_size, CombinedMode::max_size_cycle, CombinedMode::sequential}) {
    CombinedLoader unbroken = three(mode, {.seed = 9});
    unbroken.set_epoch(2);
    const auto right = drain(unbroken);
    for (size_t stop = 0; stop <= right.size(); ++stop) {
      CombinedLoader first = three(mode, {.seed = 9}), second = three(mode, {.seed = 9});
      first.set_epoch(2);
      for (size_t i = 0; i < stop; ++i) first.next();
      BOOST_TEST(second.restore(first.state()) == static_cast<int64_t>(stop));
      BOOST_CHECK(second.state() == first.state());
      const auto rest = drain(second);
      BOOST_TEST(rest == std::vector<std::string>(right.begin() + static_cast<std::ptrdiff_t>(stop), right.end()),
                 boost::test_tools::per_element());
    }
  }
  CombinedLoader loader = three(CombinedMode::max_size_cycle);
  check_throws<ConfigError>([&] { loader.restore({0, 3}); }, {"sample 3"});
}

// With a global batch the samples of a step do not depend on the ranks.
BOOST_AUTO_TEST_CASE(ranks_share_the_samples_of_each_step) {
  const auto loader_of = [](int64_t rank, int64_t ranks) {
    auto a = part("a", 48, 1), b = part("b", 18, 1, 100);
    a.options.batch_size.reset(), b.options.batch_size.reset();
    a.options.global_batch_size = 6, b.options.global_batch_size = 3;
    return CombinedLoader({a, b}, CombinedMode::max_size_cycle, {.rank = rank, .world_size = ranks, .seed = 4});
  };
  const auto steps_of = [&](int64_t ranks) {
    std::vector<std::string> steps;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      CombinedLoader loader = loader_of(rank, ranks);
      for (size_t step = 0; const Batch* batch = loader.next(); ++step) {
        BOOST_TEST(!batch->padding());
        if (rank == 0) steps.emplace_back();
        for (const auto value : values((*batch)["b/x"])) steps[step] += " " + std::to_string(value);
      }
    }
    return steps;
  };
  const auto on_one = steps_of(1);
  BOOST_TEST(on_one.size() == 8U);
  for (const int64_t ranks : {2, 3}) BOOST_TEST(steps_of(ranks) == on_one, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(mistakes) {
  check_throws<UsageError>([] { CombinedLoader({}, CombinedMode::min_size); }, {"no parts"});
  check_throws<UsageError>([] { CombinedLoader({part("a", 4, 2), part("a", 4, 2)}, CombinedMode::min_size); }, {"\"a\""});
  check_throws<ConfigError>(
      [] {
        CombinedLoader({part("a", 40, 2), part("b", 3, 4)}, CombinedMode::max_size_cycle);
      },
      {"drop_last", "3 samples"});
}

BOOST_AUTO_TEST_SUITE_END()
