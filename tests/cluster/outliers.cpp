#include "levin/cluster/outliers.h"

#include <cmath>

#include "levin_test.h"

using levin::Better;
using levin::spread_of;

BOOST_AUTO_TEST_SUITE(cluster_outliers)

using Indices = std::vector<size_t>;

BOOST_AUTO_TEST_CASE(worse_by_more_than_a_tenth_and_a_sigma) {
  const auto slow = spread_of({100, 101, 99, 60, 100}, Better::higher);
  BOOST_TEST(slow.outliers == Indices{3}, boost::test_tools::per_element());
  BOOST_TEST(slow.mean == 92);
  BOOST_TEST(slow.least == 60);
  BOOST_TEST(slow.most == 101);
  BOOST_TEST(spread_of({100, 101, 99, 60, 100}, Better::lower).outliers.empty());  // 60 is better
  BOOST_TEST(spread_of({1, 1, 1, 2}, Better::lower).outliers == Indices{3}, boost::test_tools::per_element());
  BOOST_TEST(spread_of({100, 95, 100, 100}, Better::higher).outliers.empty());               // 4 % is nothing
  BOOST_TEST(spread_of({50, 150, 50, 150, 60, 140}, Better::higher).outliers.size() == 2u);  // 60 is within a sigma
}

BOOST_AUTO_TEST_CASE(two_values) {
  BOOST_TEST(spread_of({100, 70}, Better::higher).outliers == Indices{1}, boost::test_tools::per_element());
  BOOST_TEST(spread_of({100, 90}, Better::higher).outliers.empty());
}

BOOST_AUTO_TEST_CASE(none_and_not_measured) {
  BOOST_TEST(spread_of({}, Better::higher).count == 0u);
  const double none = std::nan("");
  const auto spread = spread_of({none, 100, none, 50}, Better::higher);
  BOOST_TEST(spread.count == 2u);
  BOOST_TEST(spread.mean == 75);
  BOOST_TEST(spread.outliers == Indices{3}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
