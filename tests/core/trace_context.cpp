#include "levin/core/trace_context.h"

#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>

#include <thread>

#include "levin/core/batch.h"
#include "levin/core/fixed_text.h"
#include "levin_test.h"

using namespace levin;

BOOST_AUTO_TEST_SUITE(core_trace_context)

namespace {

struct Model {};

std::string trace_context() {
  char memory[512];
  FixedText text(memory, sizeof(memory));
  describe_trace_context(text);
  return std::string(text.view());
}

/// What is said of the error that `call` throws.
template <class Call>
std::string explained(Call&& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return explain(error);
  }
  return "nothing was thrown";
}

void multiply() { at::matmul(at::ones({784, 10}), at::ones({128, 10})); }

}  // namespace

BOOST_AUTO_TEST_CASE(hooks_and_units_nest) {
  const Model model, block;
  const RunScope::Names names{{&block, "body.0"}};
  int64_t step = 7;
  const Batch batch{{"x", at::ones({2, 3})}, {"label", at::ones({2}, at::kLong)}, {"weight", at::ones({})}};
  BOOST_TEST(trace_context() == "");
  {
    const RunScope run(names, step);
    const HookScope hook("training_step", &typeid(Model), &batch);
    const std::string in_hook = "\n  in training_step of Model, step 7",
                      of_batch = "\n  batch: x 2x3 float32, label 2 int64, weight scalar float32";
    BOOST_TEST(trace_context() == in_hook + of_batch);
    {
      UnitScope unit(&block, typeid(Model));
      BOOST_TEST(trace_context() == in_hook + "\n  in unit body.0 (Model)" + of_batch);
      UnitScope inner(&model, typeid(std::vector<Model>));
      for (int i = 1; i <= 5; i++) inner.inputs().add(at::ones({i, 1, 1, 1, 1, 1, 1}));
      BOOST_TEST(trace_context() == in_hook +
                                        "\n  in unit vector, inputs 1x1x1x1x1x1 float32, 2x1x1x1x1x1 float32, 3x1x1x1x1x1 float32, "
                                        "4x1x1x1x1x1 float32, …" +
                                        of_batch);
      step = 8;
      const HookScope callback("on_train_batch_end");
      BOOST_TEST(trace_context() == "\n  in on_train_batch_end, step 8");
    }
    step = 7;
    BOOST_TEST(trace_context() == in_hook + of_batch);
    std::thread([] { BOOST_TEST(trace_context() == ""); }).join();
  }
  BOOST_TEST(trace_context() == "");
}

BOOST_AUTO_TEST_CASE(an_error_has_the_innermost_scope_that_it_left) {
  const Model model;
  const auto text = explained([&] {
    const HookScope hook("training_step");
    const UnitScope outer(&model, typeid(int)), inner(&model, typeid(Model));
    multiply();
  });
  BOOST_TEST(text == "[torch] mat1 and mat2 shapes cannot be multiplied (784x10 and 128x10)\n  in training_step\n  in unit Model");
}

BOOST_AUTO_TEST_CASE(an_error_that_was_caught_is_forgotten) {
  const Model model;
  const auto caught = [&] {
    explained([&] {
      const UnitScope unit(&model, typeid(Model));
      throw std::runtime_error("caught");
    });
  };
  BOOST_TEST(explained([&] {
               const HookScope hook("outer");
               caught();
               throw std::runtime_error("made friendlier");
             }) == "made friendlier\n  in outer\n  in unit Model");
  BOOST_TEST(explained([&] {
               const HookScope hook("outer");
               caught();
               { const UnitScope good(&model, typeid(Model)); }
               throw std::runtime_error("another");
             }) == "another\n  in outer");
  caught();
  { const HookScope good("good"); }
  BOOST_TEST(explained([] { throw std::runtime_error("outside"); }) == "outside");
}

BOOST_AUTO_TEST_CASE(hooks_called_for_an_error_keep_its_context) {
  try {
    const HookScope hook("training_step");
    throw std::runtime_error("broken");
  } catch (const std::exception& error) {
    {
      const KeepErrorContext kept;
      explained([] {
        const HookScope on_exception("on_exception");
        throw std::runtime_error("and again");
      });
    }
    BOOST_TEST(explain(error) == "broken\n  in training_step");
  }
}

BOOST_AUTO_TEST_CASE(long_messages_of_torch_are_cut) {
  { const HookScope earlier_errors_are_forgotten("good"); }
  const auto lines = [](int count) {
    std::string text;
    for (int i = 0; i < count; i++) text += "line\n";
    return text;
  };
  BOOST_TEST(explained([&] { TORCH_CHECK(false, lines(20)); }) == "[torch] line\nline\nline\nline\nline\nline");
  BOOST_TEST(explained([&] { TORCH_CHECK(false, "a\nException raised from here"); }) == "[torch] a");
  BOOST_TEST(explained([&] { TORCH_CHECK(false, ""); }).starts_with("[torch]"));
}

BOOST_AUTO_TEST_CASE(text_that_does_not_fit_is_cut) {
  char memory[10];
  FixedText text(memory, sizeof(memory));
  (text << "ab") << int64_t{-12};
  text.hex(255);
  BOOST_TEST(text.view() == "ab-120xff");
  (text << "cd") << int64_t{5};
  BOOST_TEST(text.view() == "ab-120xffc");
  FixedText numbers(memory, sizeof(memory));
  numbers << int64_t{0};
  BOOST_TEST(numbers.view() == "0");
  char wide[40];
  FixedText least(wide, sizeof(wide));
  least << std::numeric_limits<int64_t>::min();
  BOOST_TEST(least.view() == "-9223372036854775808");
}

BOOST_AUTO_TEST_SUITE_END()
