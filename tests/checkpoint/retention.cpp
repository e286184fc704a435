#include "levin/checkpoint/retention.h"

#include <cmath>

#include "levin_test.h"

using levin::checkpoints_to_remove;
using levin::MonitorMode;
using Names = std::vector<std::string>;

BOOST_AUTO_TEST_SUITE(checkpoint_retention)

namespace {

const std::vector<levin::KeptCheckpoint> five{{"a", 1, 0.5}, {"b", 2, 0.1}, {"c", 3, 0.3}, {"d", 4, 0.9}, {"e", 5, 0.7}};

}  // namespace

BOOST_AUTO_TEST_CASE(the_best_and_the_two_newest_stay) {
  BOOST_CHECK((checkpoints_to_remove(five, {.save_top_k = 1}) == Names{"a", "c"}));
  BOOST_CHECK((checkpoints_to_remove(five, {.save_top_k = 2}) == Names{"a"}));
  BOOST_CHECK((checkpoints_to_remove(five, {.save_top_k = 1, .mode = MonitorMode::max}) == Names{"a", "b", "c"}));
  BOOST_CHECK((checkpoints_to_remove(five, {.save_top_k = 3, .mode = MonitorMode::max}) == Names{"b", "c"}));
  BOOST_CHECK((checkpoints_to_remove(five, {.save_top_k = 0}) == Names{"a", "b", "c"}));
  BOOST_CHECK((checkpoints_to_remove(five, {.save_top_k = -1}) == Names{}));
  BOOST_CHECK((checkpoints_to_remove(five, {.save_top_k = 1, .newest = 0}) == Names{"a", "c", "d", "e"}));
  BOOST_CHECK((checkpoints_to_remove({}, {}) == Names{}));
}

BOOST_AUTO_TEST_CASE(protected_checkpoints_stay) {
  BOOST_CHECK((checkpoints_to_remove(five, {.save_top_k = 1, .protect = {"a", "unknown"}}) == Names{"c"}));
}

BOOST_AUTO_TEST_CASE(without_scores_the_latest_are_the_best) {
  const std::vector<levin::KeptCheckpoint> some{{"late", 9, {}}, {"early", 1, {}}, {"middle", 5, {}}};
  BOOST_CHECK((checkpoints_to_remove(some, {.save_top_k = 1, .newest = 0}) == Names{"early", "middle"}));
  BOOST_CHECK((checkpoints_to_remove(some, {.save_top_k = 1, .newest = 2}) == Names{"early"}));
}

BOOST_AUTO_TEST_CASE(a_nan_is_worse_than_no_score_and_equal_scores_go_by_step) {
  const std::vector<levin::KeptCheckpoint> some{{"nan", 4, std::nan("")}, {"none", 1, {}}, {"old", 2, 0.5}, {"new", 3, 0.5}};
  BOOST_CHECK((checkpoints_to_remove(some, {.save_top_k = 1, .newest = 0}) == Names{"nan", "none", "old"}));
  BOOST_CHECK((checkpoints_to_remove(some, {.save_top_k = 2, .newest = 0}) == Names{"nan", "none"}));
  BOOST_CHECK((checkpoints_to_remove(some, {.save_top_k = 3, .newest = 0}) == Names{"nan"}));
}

BOOST_AUTO_TEST_CASE(the_most_that_is_kept) {
  BOOST_TEST(levin::most_kept({.save_top_k = 1}, false) == 2);
  BOOST_TEST(levin::most_kept({.save_top_k = 1}, true) == 3);
  BOOST_TEST(levin::most_kept({.save_top_k = 5}, true) == 7);
  BOOST_TEST(levin::most_kept({.save_top_k = -1}, true) == -1);
}

BOOST_AUTO_TEST_SUITE_END()
