#include "levin/core/batch.h"

#include <ATen/ops/ones.h>

#include "levin/core/error.h"
#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(core_batch)

BOOST_AUTO_TEST_CASE(names_and_weight) {
  levin::Batch batch{{"image", at::ones({3, 2})}, {"label", at::ones({3})}};
  BOOST_TEST(batch.size() == 3);
  BOOST_TEST(batch.weight() == 3.0);
  batch.set_weight(7);
  BOOST_TEST(batch.weight() == 7.0);
  batch.set_padding(true);
  BOOST_TEST(batch.weight() == 0.0);
  levin::test::check_throws<levin::UsageError>([&] { batch["imgae"]; }, {"[data]", "imgae", "image, label"});
}

BOOST_AUTO_TEST_SUITE_END()
