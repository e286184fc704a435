#include "levin/callbacks/model_summary.h"

#include "../trainer/toy.h"
#include "levin_test.h"

using namespace levin::test;

BOOST_AUTO_TEST_SUITE(callbacks_model_summary)

BOOST_AUTO_TEST_CASE(summary_names_children_and_totals) {
  const Toy toy;
  const std::string table = levin::summarize(toy);
  BOOST_TEST(table.find("net") != std::string::npos);
  BOOST_TEST(table.find("Linear") != std::string::npos);
  BOOST_TEST(table.find("LinearImpl") == std::string::npos);
  BOOST_TEST(table.find("5 parameters, 5 of them trained, 0.0 MB") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
