#include "levin/nn/unit.h"

#include <ATen/ops/ones.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include "levin_test.h"

using levin::Tensor;

BOOST_AUTO_TEST_SUITE(nn_unit)

namespace {

struct ScaleImpl : levin::Unit<Tensor(Tensor)> {
  explicit ScaleImpl(double factor) : factor_(factor) {}
  Tensor compute(Tensor x) override { return x * factor_; }
  double factor_;
};
LEVIN_UNIT(Scale);

struct Named {
  Tensor first;
  std::vector<Tensor> rest;
  template <class Fn>
  void tensors(Fn&& fn) {
    fn(first), fn(rest);
  }
};

struct SplitImpl : levin::Unit<std::tuple<Tensor, std::optional<Tensor>, Named>(Tensor, int)> {
  std::tuple<Tensor, std::optional<Tensor>, Named> compute(Tensor x, int n) override {
    return {x, n > 0 ? std::optional(x + n) : std::nullopt, Named{x, {x, x}}};
  }
};
LEVIN_UNIT(Split);

struct Recorder : levin::UnitEngine {
  void enter(const Tensors& for_each_input) override {
    calls += "e";
    for_each_input([&](const Tensor&) { inputs++; });
  }
  void leave(const Tensors& for_each_output) override {
    calls += "l";
    for_each_output([&](const Tensor&) { outputs++; });
  }
  std::string calls;
  int inputs = 0, outputs = 0;
};

struct Collector : levin::BuildContext {
  void adopt(const std::shared_ptr<levin::UnitBase>& unit) override { units.push_back(unit); }
  std::vector<std::shared_ptr<levin::UnitBase>> units;
};

}  // namespace

BOOST_AUTO_TEST_CASE(engine_is_called_through_holder_and_sequential) {
  Recorder engine;
  Scale scale(3.0);
  scale->attach(&engine);
  BOOST_TEST(scale(at::ones({2})).sum().item<float>() == 6.f);
  torch::nn::Sequential sequential(torch::nn::Linear(2, 2), scale);
  sequential->forward(at::ones({1, 2}));
  BOOST_TEST(engine.calls == "elel");
  BOOST_TEST(engine.inputs == 2);
  BOOST_TEST(engine.outputs == 2);
}

BOOST_AUTO_TEST_CASE(every_tensor_of_a_structured_output_is_visited) {
  Recorder engine;
  Split split;
  split->attach(&engine);
  split(at::ones({2}), 1);
  BOOST_TEST(engine.outputs == 5);
  split(at::ones({2}), 0);
  BOOST_TEST(engine.outputs == 9);
}

BOOST_AUTO_TEST_CASE(open_context_gets_units_in_order_of_building) {
  Scale before(1.0);
  Collector outer;
  Scale first(1.0);
  {
    Collector inner;
    Scale nested(2.0);
    BOOST_TEST(inner.units.size() == 1u);
  }
  torch::nn::Sequential kept(Scale(2.0), Scale(3.0));
  BOOST_TEST(outer.units.size() == 3u);
  BOOST_TEST(outer.units[0] == std::static_pointer_cast<levin::UnitBase>(first.ptr()));
  BOOST_TEST(levin::BuildContext::current() == &outer);
}

BOOST_AUTO_TEST_SUITE_END()
