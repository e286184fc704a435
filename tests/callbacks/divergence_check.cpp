#include "levin/callbacks/divergence_check.h"

#include "check_all_throw.h"
#include "levin/core/error.h"
#include "reference_toy.h"

using namespace levin::test;
using levin::DivergenceCheck;

BOOST_AUTO_TEST_SUITE(callbacks_divergence_check)

BOOST_AUTO_TEST_CASE(ranks_that_differ_from_most_are_found) {
  using Ranks = std::vector<int>;
  BOOST_TEST(DivergenceCheck::outliers({7, 7, 7}).empty());
  BOOST_TEST(DivergenceCheck::outliers({7, 8, 7}) == (Ranks{1}), boost::test_tools::per_element());
  BOOST_TEST(DivergenceCheck::outliers({8, 7, 7, 9}) == (Ranks{0, 3}), boost::test_tools::per_element());
  BOOST_TEST(DivergenceCheck::outliers({7, 8}) == (Ranks{1}), boost::test_tools::per_element());
}

// The last rank's private copy gets a wrong bit after the fourth step's check.
BOOST_AUTO_TEST_CASE(a_changed_replica_ends_the_training) {
  for (const bool corrupt : {false, true}) {
    auto config = reference_config(2);
    config.session.strategy = levin::DDP{.share_parameters = levin::ShareParameters::none};
    ReferenceData data;
    levin::Trainer trainer(config, runtime());
    trainer.on(levin::Event::step, {.every = 4}, [&] {
      if (corrupt && runtime().rank() == runtime().size() - 1 && runtime().size() > 1)
        for (auto& slice : trainer.session().parameter_slices())
          if (slice.name == "net.bias") slice.slice.add_(1e-12);
    });
    trainer.add_callback(std::make_shared<DivergenceCheck>(levin::DivergenceCheckConfig{.every_n_steps = 2}));
    const auto module = trainer.build<ReferenceToy>();
    if (!corrupt || runtime().size() == 1) {
      trainer.fit(*module, data);
      BOOST_TEST(trainer.global_step() == 8);
      continue;
    }
    const auto expected = fmt::format("replicas differ after step 6: net.bias on rank {}", runtime().size() - 1);
    check_all_throw<levin::Error>([&] { trainer.fit(*module, data); }, {expected});
  }
}

BOOST_AUTO_TEST_SUITE_END()
