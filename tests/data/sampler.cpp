#include "levin/data/sampler.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(data_sampler)

namespace {

std::vector<int64_t> order(const levin::Sampler& sampler) {
  std::vector<int64_t> samples(static_cast<size_t>(sampler.size()));
  sampler.fill(0, samples);
  return samples;
}

// Standard deviations that Pearson's statistic of `counts` lies above its mean, when all are equally likely.
double excess(const std::vector<int64_t>& counts) {
  const double expected =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0})) / static_cast<double>(counts.size());
  double statistic = 0;
  for (const auto count : counts) statistic += (static_cast<double>(count) - expected) * (static_cast<double>(count) - expected) / expected;
  const double freedom = static_cast<double>(counts.size()) - 1;
  return (statistic - freedom) / std::sqrt(2 * freedom);
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_order_is_a_bijection) {
  for (int64_t size = 0; size <= 300; ++size)
    for (uint64_t seed = 0; seed < 3; ++seed) {
      auto samples = order(levin::Sampler::shuffled(size, seed, 5));
      std::sort(samples.begin(), samples.end());
      for (int64_t i = 0; i < size; ++i) BOOST_REQUIRE(samples[static_cast<size_t>(i)] == i);
    }
  for (const int64_t size : {59'999, 60'000, 65'536, 100'003}) {
    auto samples = order(levin::Sampler::shuffled(size, 1, 0));
    std::sort(samples.begin(), samples.end());
    for (int64_t i = 0; i < size; ++i) BOOST_REQUIRE(samples[static_cast<size_t>(i)] == i);
  }
}

BOOST_AUTO_TEST_CASE(sequential_is_the_identity) {
  const auto samples = order(levin::Sampler::sequential(5));
  BOOST_TEST(samples == (std::vector<int64_t>{0, 1, 2, 3, 4}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(all_orders_of_tiny_sets_are_equally_likely) {
  for (const int64_t size : {2, 3, 4, 5, 6, 7}) {
    std::map<std::vector<int64_t>, int64_t> seen;
    for (uint64_t seed = 0; seed < 60'000; ++seed) ++seen[order(levin::Sampler::shuffled(size, seed, 0))];
    std::vector<int64_t> counts;
    for (const auto& [samples, count] : seen) counts.push_back(count);
    BOOST_TEST(counts.size() == static_cast<size_t>(std::tgamma(size + 1)));
    BOOST_TEST(excess(counts) < 5, size << " samples: " << excess(counts));
  }
}

BOOST_AUTO_TEST_CASE(each_position_is_uniform_over_epochs_and_seeds) {
  for (const int64_t size : {7, 13, 64, 100})
    for (const bool by_epoch : {false, true}) {
      std::vector<std::vector<int64_t>> counts(static_cast<size_t>(size), std::vector<int64_t>(static_cast<size_t>(size)));
      for (int64_t draw = 0; draw < 20'000; ++draw) {
        const auto samples = order(levin::Sampler::shuffled(size, by_epoch ? 3 : static_cast<uint64_t>(draw), by_epoch ? draw : 0));
        for (size_t position = 0; position < samples.size(); ++position) ++counts[position][static_cast<size_t>(samples[position])];
      }
      for (const auto& at_position : counts) BOOST_TEST(excess(at_position) < 6);
    }
}

BOOST_AUTO_TEST_CASE(neighbours_and_epochs_are_unrelated) {
  constexpr int64_t size = 10'000, bins = 50;
  const auto first = order(levin::Sampler::shuffled(size, 0, 0)), second = order(levin::Sampler::shuffled(size, 0, 1));
  std::vector<int64_t> differences(bins), between_epochs(bins), runs(bins * bins);
  int64_t unmoved = 0;
  for (size_t i = 0; i + 1 < first.size(); ++i) {
    ++differences[static_cast<size_t>((first[i + 1] - first[i] + size) % size * bins / size)];
    ++between_epochs[static_cast<size_t>((second[i] - first[i] + size) % size * bins / size)];
    unmoved += first[i] == second[i];
    ++runs[i * bins / first.size() * bins + static_cast<size_t>(first[i] * bins / size)];  // a stretch of the order covers the data evenly
  }
  BOOST_TEST(excess(differences) < 6);
  BOOST_TEST(excess(between_epochs) < 6);
  BOOST_TEST(excess(runs) < 6);
  BOOST_TEST(unmoved < 10);  // 1 is expected
}

BOOST_AUTO_TEST_CASE(every_order_of_blocks_is_a_bijection) {
  for (const int64_t size : {1, 2, 7, 8, 9, 64, 100, 1000})
    for (const int64_t block : {1, 2, 3, 8, 10, 99, 100, 2000})
      for (const int64_t mixed : {1, 2, 5, 1000}) {
        const auto sampler = levin::Sampler::shuffled_in_blocks(size, block, mixed, 3, 1);
        BOOST_REQUIRE(sampler.size() == size);
        auto samples = order(sampler);
        for (int64_t i = 0; i < size; ++i) BOOST_REQUIRE(sampler(i) == samples[static_cast<size_t>(i)]);
        std::sort(samples.begin(), samples.end());
        for (int64_t i = 0; i < size; ++i) BOOST_REQUIRE(samples[static_cast<size_t>(i)] == i);
      }
}

BOOST_AUTO_TEST_CASE(a_stretch_needs_few_blocks) {
  constexpr int64_t size = 10'003, block = 50;
  for (const int64_t mixed : {1, 4}) {
    const auto samples = order(levin::Sampler::shuffled_in_blocks(size, block, mixed, 7, 2));
    int64_t neighbours = 0;
    for (size_t begin = 0; begin < samples.size(); begin += static_cast<size_t>(mixed * block)) {
      std::set<int64_t> blocks;
      for (size_t i = begin; i < std::min(begin + static_cast<size_t>(mixed * block), samples.size()); ++i) {
        blocks.insert(samples[i] / block);
        neighbours += i > begin && samples[i] == samples[i - 1] + 1;
      }
      BOOST_TEST(std::ssize(blocks) <= mixed + 1);
    }
    BOOST_TEST(neighbours < size / 10);  // mixed, not only moved
  }
}

// Each block comes equally often at each place, and so does the short one.
BOOST_AUTO_TEST_CASE(blocks_are_in_a_random_order) {
  constexpr int64_t size = 45, block = 10;
  std::vector<std::vector<int64_t>> counts(2, std::vector<int64_t>(size));
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 20'000; ++epoch) {
    const auto sampler = levin::Sampler::shuffled_in_blocks(size, block, 1, 5, epoch);
    ++counts[0][static_cast<size_t>(sampler(0))];
    ++counts[1][static_cast<size_t>(sampler(20))];
    if (epoch < 50) orders.insert(order(sampler));
  }
  BOOST_TEST(orders.size() == 50U);
  for (const auto& at_position : counts) {
    int64_t least = at_position[0];
    for (const auto count : at_position) least = std::min(least, count);
    BOOST_TEST(least > 100);  // 444 on the mean
  }
}

BOOST_AUTO_TEST_CASE(an_order_never_changes) {
  // Checkpoints of earlier versions rely on these.
  BOOST_TEST(order(levin::Sampler::shuffled(10, 42, 3)) == (std::vector<int64_t>{8, 5, 7, 3, 2, 9, 4, 6, 0, 1}),
             boost::test_tools::per_element());
  const auto large = levin::Sampler::shuffled(3'000'000'000'000, 7, 1);
  BOOST_TEST(large(0) == 1'963'050'571'680);
  BOOST_TEST(large(2'999'999'999'999) == 151'463'926'771);
  BOOST_TEST(levin::Sampler::shuffled(60'000, 0, 0)(59'999) == 49'451);
}

BOOST_AUTO_TEST_SUITE_END()
