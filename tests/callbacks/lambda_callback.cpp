#include "levin/callbacks/lambda_callback.h"

#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "../trainer/toy.h"
#include "levin_test.h"
#include "test_paths.h"

using namespace levin::test;
using levin::LambdaCallback;
using levin::LambdaHooks;

BOOST_AUTO_TEST_SUITE(callbacks_lambda_callback)

namespace {

std::set<std::string> names_in(const std::string& header, const std::regex& pattern) {
  std::stringstream text;
  text << std::ifstream(std::string(LEVIN_TESTS) + "/../include/levin/" + header).rdbuf();
  const std::string all = text.str();
  std::set<std::string> names;
  for (std::sregex_iterator match(all.begin(), all.end(), pattern); match != std::sregex_iterator(); ++match) names.insert((*match)[1]);
  return names;
}

}  // namespace

BOOST_AUTO_TEST_CASE(functions_are_called_with_what_the_hooks_get) {
  ToyData data;
  levin::Trainer trainer({.max_epochs = 2, .num_sanity_val_steps = 0}, runtime());
  const auto module = trainer.build<Toy>();
  std::vector<std::string> calls;
  std::vector<double> losses;
  trainer.add_callback(std::make_shared<LambdaCallback>(LambdaHooks{
      .setup = [&](levin::Trainer&, levin::Module&, levin::Stage stage) { calls.emplace_back(levin::stage_name(stage)); },
      .on_train_epoch_start =
          [&](levin::Trainer& caller, levin::Module& called) {
            BOOST_TEST((&caller == &trainer && &called == module.get()));
            calls.push_back("epoch " + std::to_string(caller.current_epoch()));
          },
      .on_train_batch_end =
          [&](levin::Trainer&, levin::Module&, const levin::Tensor& loss, const levin::Batch& batch, int64_t batch_idx) {
            BOOST_TEST(batch.contains("x"));
            losses.push_back(loss.item<double>());
            if (batch_idx == 4) calls.emplace_back("last batch");
          },
      .on_test_end = [&](levin::Trainer&, levin::Module&) { calls.emplace_back("tested"); },
  }));
  trainer.fit(*module, data);
  trainer.test(*module, data);
  const std::vector<std::string> expected{"fit", "epoch 0", "last batch", "epoch 1", "last batch", "test", "tested"};
  BOOST_TEST(calls == expected, boost::test_tools::per_element());
  BOOST_TEST(losses == module->losses, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(an_error_reaches_its_function) {
  ToyData data;
  levin::Trainer trainer({.max_epochs = 1}, runtime());
  const auto module = trainer.build<Toy>();
  module->fail_at_step = runtime().rank() == 0 ? 2 : -1;
  std::string message;
  trainer.add_callback(std::make_shared<LambdaCallback>(
      LambdaHooks{.on_exception = [&](levin::Trainer&, levin::Module&, const std::string& text) { message = text; }}));
  BOOST_CHECK_THROW(trainer.fit(*module, data), std::exception);
  BOOST_TEST(message.starts_with("the toy broke\n  in training_step of Toy, step 2\n") == (runtime().rank() == 0));
}

BOOST_AUTO_TEST_CASE(every_hook_has_its_function) {
  auto hooks = names_in("trainer/hooks.h", std::regex(R"(virtual \w+ (\w+)\()"));
  hooks.insert("on_exception");  // a callback's alone
  const auto functions = names_in("callbacks/lambda_callback.h", std::regex(R"(\n  hook\((\w+),)"));
  BOOST_TEST(hooks.size() > 30);
  BOOST_TEST(functions == hooks, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
