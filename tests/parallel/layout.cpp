#include "../../src/parallel/layout.h"

#include "levin_test.h"

using levin::LayoutOptions;
using levin::ParameterInfo;
using levin::Range;

BOOST_AUTO_TEST_SUITE(parallel_layout)

namespace {

std::vector<ParameterInfo> model() {
  return {{"a.weight", 1000, at::kFloat, true, 0, 0}, {"a.bias", 10, at::kFloat, true, 0, 1},    {"b.weight", 300, at::kFloat, true, 1, 0},
          {"b.bias", 3, at::kFloat, true, 1, 1},      {"c.weight", 50, at::kDouble, true, 1, 0}, {"frozen", 77, at::kFloat, false, 0, 0}};
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_parameter_has_its_own_aligned_range) {
  for (int ranks : {1, 2, 3, 4, 7}) {
    for (bool by_unit : {false, true}) {
      LayoutOptions options{.ranks = ranks, .by_unit = by_unit};
      const auto groups = levin::make_layout(model(), options);
      std::vector<int> seen(model().size());
      for (const auto& group : groups) {
        const int64_t alignment = 64 / static_cast<int64_t>(c10::elementSize(group.dtype));
        BOOST_TEST(group.numel % (ranks * alignment) == 0);
        int64_t end = 0;
        for (const auto& [parameter, range] : group.parameters) {
          seen[static_cast<size_t>(parameter)]++;
          BOOST_TEST(range.begin >= end);
          BOOST_TEST(range.begin % alignment == 0);
          BOOST_TEST(range.size() == model()[static_cast<size_t>(parameter)].numel);
          BOOST_TEST(group.trained == model()[static_cast<size_t>(parameter)].trained);
          if (by_unit) BOOST_TEST(group.unit == model()[static_cast<size_t>(parameter)].unit);
          end = range.end;
        }
        BOOST_TEST(end <= group.numel);
      }
      for (int count : seen) BOOST_TEST(count == 1);
    }
  }
}

BOOST_AUTO_TEST_CASE(parameter_groups_cover_the_buffer_and_have_the_same_options) {
  for (const auto& group : levin::make_layout(model(), {.ranks = 3})) {
    int64_t end = 0;
    for (const auto& group_range : group.group_ranges) {
      BOOST_TEST(group_range.range.begin == end);
      end = group_range.range.end;
      for (const auto& [parameter, range] : group.parameters) {
        const bool inside = levin::intersect(range, group_range.range).size() > 0;
        BOOST_TEST((!inside || model()[static_cast<size_t>(parameter)].group_id == group_range.group_id));
      }
    }
    BOOST_TEST(end == group.numel);
  }
}

BOOST_AUTO_TEST_CASE(shards_are_the_whole) {
  for (int ranks : {1, 2, 3, 5}) {
    for (const auto& group : levin::make_layout(model(), {.ranks = ranks})) {
      int64_t end = 0;
      for (int rank = 0; rank < ranks; rank++) {
        BOOST_TEST(group.shard(rank, ranks).begin == end);
        end = group.shard(rank, ranks).end;
      }
      BOOST_TEST(end == group.numel);
    }
  }
}

BOOST_AUTO_TEST_CASE(buckets_are_filled_up_to_their_size) {
  std::vector<ParameterInfo> many;
  for (int i = 0; i < 10; i++) many.push_back({"p" + std::to_string(i), 100, at::kFloat, true, i, 0});
  const auto groups = levin::make_layout(many, {.first_bucket_bytes = 400, .bucket_bytes = 1200});
  BOOST_TEST(groups.size() == 4u);  // 1 + 3 + 3 + 3
  BOOST_TEST(groups[0].parameters.size() == 1u);
  BOOST_TEST(groups[1].parameters.size() == 3u);
  BOOST_TEST(levin::make_layout(many, {.by_unit = true}).size() == 10u);
  const auto large = levin::make_layout({{"one", 5000}, {"two", 5000}}, {.first_bucket_bytes = 400, .bucket_bytes = 400});
  BOOST_TEST(large.size() == 2u);  // a parameter larger than a bucket has a bucket of its own
  BOOST_TEST(levin::make_layout({}, {}).empty());
}

BOOST_AUTO_TEST_SUITE_END()
