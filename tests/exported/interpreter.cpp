#include "../../src/exported/interpreter.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <functional>
#include <limits>
#include <new>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "../../src/exported/node_use.h"
#include "graph_builder.h"
#include "levin/core/error.h"
#include "levin/core/tensor.h"
#include "levin/trainer/training_trial.h"
#include "levin_test.h"

namespace exported = levin::exported;
using exported::Interpreter;
using exported::Item;
using exported::List;
using exported::ListKind;
using exported::Slot;
using exported::ValueKind;
using levin::Tensor;
using levin::test::check_throws;
using levin::test::GraphBuilder;

BOOST_AUTO_TEST_SUITE(exported_interpreter)

namespace {

const std::string aten = "torch.ops.aten.", higher = "torch.ops.higher_order.";

Tensor run(const GraphBuilder& builder, std::vector<c10::IValue> inputs) {
  return Interpreter(builder.graph).call(std::move(inputs)).at(0).toTensor();
}

/// y = sin(x), as a graph of its own.
std::shared_ptr<const exported::Graph> unary(const std::string& target) {
  GraphBuilder inner;
  inner.output(inner.node(aten + target, {{"self", inner.ref(inner.input("x"))}}));
  return std::make_shared<exported::Graph>(inner.graph);
}

/// f(a, b) of two sizes.
c10::IValue of_sizes(const std::string& target, c10::IValue a, c10::IValue b, ValueKind kind = ValueKind::integer) {
  GraphBuilder builder;
  const Slot first = builder.input("a", kind), second = builder.input("b", kind);
  builder.output(builder.node(target, {{"", builder.ref(first)}, {"", builder.ref(second)}}, kind));
  return Interpreter(builder.graph).call({std::move(a), std::move(b)}).at(0);
}

/// While it lives, `fail` is called in place of each allocation of a tensor in host memory.
class FailingAllocator : public c10::Allocator {
 public:
  explicit FailingAllocator(std::function<void()> fail) : fail_(std::move(fail)), before_(c10::GetCPUAllocator()) {
    c10::SetCPUAllocator(this);
  }
  ~FailingAllocator() override { c10::SetCPUAllocator(before_); }
  FailingAllocator(const FailingAllocator&) = delete;
  FailingAllocator& operator=(const FailingAllocator&) = delete;
  c10::DataPtr allocate(size_t bytes) override {
    fail_();
    return before_->allocate(bytes);
  }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

 private:
  std::function<void()> fail_;
  c10::Allocator* before_;
};

}  // namespace

// Defaults, lists, numbers as tensors, and a value that is read twice by one node.
BOOST_AUTO_TEST_CASE(arguments_are_passed_as_python_passes_them) {
  GraphBuilder builder;
  const Slot x = builder.input("x");
  const Slot twice = builder.node(aten + "mul.Tensor", {{"self", builder.ref(x)}, {"other", builder.ref(x)}});
  const Slot shifted =
      builder.node(aten + "add.Tensor", {{"self", builder.ref(twice)}, {"other", Item(int64_t{1})}, {"alpha", Item(int64_t{2})}});
  const Slot sum =
      builder.node(aten + "sum.dim_IntList", {{"self", builder.ref(shifted)}, {"dim", List{ListKind::integers, {Item(int64_t{0})}}}});
  builder.output(builder.node(aten + "stack.default", {{"tensors", List{ListKind::tensors, {builder.ref(sum), builder.ref(sum)}}}}));
  const Tensor x_value = at::arange(6, at::kFloat).view({2, 3});
  const Tensor found = run(builder, {x_value});
  BOOST_TEST(at::equal(found[1], (x_value * x_value + 2).sum(0)));
  BOOST_TEST((found.scalar_type() == at::kFloat));  // a number is no float64 tensor
}

BOOST_AUTO_TEST_CASE(sizes_are_computed_as_in_python) {
  BOOST_TEST(of_sizes("_operator.floordiv", -7, 2).toInt() == -4);
  BOOST_TEST(of_sizes("_operator.mod", -7, 2).toInt() == 1);
  BOOST_TEST(of_sizes("_operator.truediv", 7, 2, ValueKind::floating).toDouble() == 3.5);
  BOOST_TEST(of_sizes("_operator.pow", 3, 4).toInt() == 81);
  BOOST_TEST(of_sizes("_operator.add", 3, 0.5, ValueKind::floating).toDouble() == 3.5);
  BOOST_TEST(of_sizes("torch.sym_max", 3, 4).toInt() == 4);
  BOOST_TEST(of_sizes("_operator.lt", 3, 4, ValueKind::boolean).toBool());
  check_throws<levin::DataError>([] { of_sizes("_operator.floordiv", 7, 0); }, {"divided by zero", "_operator.floordiv", "model.py:1"});
  check_throws<levin::DataError>([] { of_sizes("_operator.mod", 7, 0); }, {"divided by zero"});
  check_throws<levin::DataError>([] { of_sizes("_operator.mul", int64_t{1} << 62, 4); }, {"overflows"});
  BOOST_TEST(of_sizes("_operator.mod", INT64_MIN, -1).toInt() == 0);
  check_throws<levin::DataError>([] { of_sizes("_operator.floordiv", INT64_MIN, -1); }, {"overflows"});
}

// view(x, [size(x, 0) * 2, -1])
BOOST_AUTO_TEST_CASE(sizes_are_arguments) {
  GraphBuilder builder;
  const Slot x = builder.input("x");
  const Slot size = builder.node(aten + "sym_size.int", {{"self", builder.ref(x)}, {"dim", Item(int64_t{0})}}, ValueKind::integer);
  const Slot two = builder.node("_operator.mul", {{"", builder.ref(size)}, {"", Item(int64_t{2})}}, ValueKind::integer);
  builder.output(builder.node(aten + "view.default",
                              {{"self", builder.ref(x)}, {"size", List{ListKind::integers, {builder.ref(two), Item(int64_t{-1})}}}}));
  for (const int64_t size_of_x : {2, 5}) BOOST_TEST(run(builder, {at::zeros({size_of_x, 4})}).sizes()[0] == 2 * size_of_x);
  check_throws<levin::DataError>([&] { run(builder, {at::zeros({3, 3})}); }, {"aten.view.default", "model.py:3: y = f(x)", "failed"});
}

BOOST_AUTO_TEST_CASE(what_may_not_run_is_refused_before_a_run) {
  const auto refused = [](const std::string& target, const GraphBuilder::Named& arguments, const std::vector<std::string>& parts) {
    GraphBuilder builder;
    const Slot x = builder.input("x");
    auto named = arguments;
    for (auto& [name, content] : named)
      if (const auto* item = std::get_if<Item>(&content); item && std::holds_alternative<exported::SlotRef>(*item))
        content = builder.ref(x);
    builder.node(target, named);
    check_throws<levin::ConfigError>([&] { Interpreter interpreter(builder.graph); }, parts);
  };
  const Item x = exported::SlotRef{0};
  refused(aten + "no_such_operator.default", {}, {"no operator aten::no_such_operator", "model.py:1"});
  refused(aten + "relu.missing", {{"self", x}}, {"overload missing"});
  refused(aten + "from_file.default", {{"filename", Item(std::string("/tmp/x"))}}, {"from_file", "may not run"});
  refused(aten + "set_.source_Tensor", {{"self", x}, {"source", x}}, {"set_", "may not run"});
  refused(aten + "add.out", {{"self", x}, {"other", x}, {"out", x}}, {"out="});
  refused("torch.ops.c10d.barrier.default", {}, {"not one of PyTorch's own"});
  refused("torch.ops.higher_order.while_loop", {}, {"while_loop", "not supported"});
  refused("os.system", {{"", Item(std::string("true"))}}, {"os.system", "without Python"});
  refused(aten + "relu.default", {{"self", x}, {"slope", Item(0.5)}}, {"no argument \"slope\""});
  refused(aten + "relu.default", {}, {"argument \"self\" is missing"});
  refused(aten + "relu.default", {{"self", Item(std::string("x"))}}, {"is a text", "Tensor"});
  refused(aten + "sum.dim_IntList", {{"self", x}, {"dim", List{ListKind::tensors, {x}}}}, {"list"});
  // LibTorch does not look at a dtype's number.
  refused(aten + "to.dtype", {{"self", x}, {"dtype", Item(int64_t{99})}}, {"is a number", "ScalarType"});
  refused(aten + "contiguous.default", {{"self", x}, {"memory_format", Item(int64_t{99})}}, {"is a number", "MemoryFormat"});
  for (const std::string name : {"_fft_r2c", "embedding_dense_backward", "slow_conv3d", "mkldnn_linear", "to_sparse", "align_tensors"})
    refused(aten + name + ".default", {{"self", x}}, {name + " may not run", "model.py:1"});
}

// torch.export writes them for .to(device) and the like; dtypes and devices follow the module.
BOOST_AUTO_TEST_CASE(checks_of_metadata_are_left_out) {
  GraphBuilder builder;
  const Slot x = builder.input("x");
  builder.node(aten + "_assert_tensor_metadata.default", {{"a", builder.ref(x)}, {"dtype", Item(at::kDouble)}});
  builder.output(builder.node(aten + "sin.default", {{"self", builder.ref(x)}}));
  BOOST_TEST(exported::written_inputs(builder.graph).empty());  // as a cut into units asks
  BOOST_TEST(run(builder, {at::ones({2}, at::kFloat)}).numel() == 2);
}

// LibTorch's kernels would read outside of their tensors.
BOOST_AUTO_TEST_CASE(arguments_that_a_kernel_trusts_are_checked) {
  const auto weight_norm = [](int64_t dim, const Tensor& norm) {
    GraphBuilder builder;
    const Slot v = builder.input("v"), g = builder.input("g");
    builder.output(builder.node(aten + "_weight_norm.default", {{"v", builder.ref(v)}, {"g", builder.ref(g)}, {"dim", Item(dim)}}));
    return run(builder, {at::ones({2, 3}), norm});
  };
  BOOST_TEST(weight_norm(0, at::ones({2, 1})).sizes()[1] == 3);
  BOOST_TEST(weight_norm(-1, at::ones({})).sizes()[1] == 3);
  check_throws<levin::DataError>([&] { weight_norm(3, at::ones({2, 1})); }, {"dim is 3", "_weight_norm", "model.py:1"});
  check_throws<levin::DataError>([&] { weight_norm(0, at::ones({0})); }, {"the norm has 0 elements"});
  const auto instance_norm = [](bool of_input, const Tensor& x_value) {
    GraphBuilder builder;
    const Slot x = builder.input("x"), statistics = builder.input("statistics");
    builder.output(builder.node(aten + "instance_norm.default", {{"input", builder.ref(x)},
                                                                 {"weight", Item()},
                                                                 {"bias", Item()},
                                                                 {"running_mean", builder.ref(statistics)},
                                                                 {"running_var", builder.ref(statistics)},
                                                                 {"use_input_stats", Item(of_input)},
                                                                 {"momentum", Item(0.1)},
                                                                 {"eps", Item(1e-5)},
                                                                 {"cudnn_enabled", Item(false)}}));
    return run(builder, {x_value, at::ones({3})});
  };
  BOOST_TEST(instance_norm(true, at::ones({2, 3, 2})).numel() == 12);
  BOOST_TEST(instance_norm(false, at::ones({2, 3, 1})).numel() == 6);
  check_throws<levin::DataError>([&] { instance_norm(true, at::ones({2, 3, 1})); }, {"Expected more than 1 spatial element", "[2, 3, 1]"});
  GraphBuilder builder;
  const Slot x = builder.input("x");
  builder.output(builder.node(aten + "reflection_pad3d.default", {{"self", builder.ref(x)}, {"padding", List{ListKind::integers, {}}}}));
  check_throws<levin::DataError>([&] { run(builder, {at::ones({16})}); }, {"the padding has 0 sizes"});
}

// With sparse gradients, as of nn.Embedding(sparse=True). Flat buffers and optimizers are dense.
BOOST_AUTO_TEST_CASE(gradients_are_dense) {
  const Tensor indices = at::arange(6, at::kLong).remainder(3).view({2, 3});
  const auto gradient_of = [&](const std::string& target, const GraphBuilder::Named& more) {
    GraphBuilder builder;
    const Slot weight = builder.input("weight"), index = builder.input("index");
    const bool gathers = target.starts_with("gather");
    GraphBuilder::Named arguments = {{gathers ? "self" : "weight", builder.ref(weight)},
                                     {gathers ? "index" : "indices", builder.ref(index)}};
    arguments.insert(arguments.end(), more.begin(), more.end());
    builder.output(builder.node(aten + target, arguments));
    const Tensor values = at::arange(15, at::kDouble).view({5, 3}).requires_grad_();
    run(builder, {values, indices}).square().sum().backward();
    return values.grad();
  };
  for (const auto& [target, flag, more] : std::vector<std::tuple<std::string, std::string, GraphBuilder::Named>>{
           {"embedding.default", "sparse", {}}, {"gather.default", "sparse_grad", {{"dim", Item(int64_t{0})}}}}) {
    auto sparse = more;
    sparse.emplace_back(flag, Item(true));
    const Tensor found = gradient_of(target, sparse);
    BOOST_TEST((found.layout() == at::kStrided), target);
    BOOST_TEST(at::equal(found, gradient_of(target, more)), target);
    BOOST_TEST(found.abs().sum().item<double>() > 0);
  }
}

// The export saw a contiguous tensor, for which Python's contiguous() leaves no node.
BOOST_AUTO_TEST_CASE(a_view_copies_where_the_strides_are_not_those_of_the_export) {
  GraphBuilder builder;
  const Slot x = builder.input("x");
  builder.output(builder.node(aten + "view.default", {{"self", builder.ref(x)}, {"size", List{ListKind::integers, {Item(int64_t{-1})}}}}));
  const Tensor x_value = at::arange(6, at::kDouble).view({2, 3}).requires_grad_();
  const Tensor found = run(builder, {x_value.t()});
  BOOST_TEST(at::equal(found, x_value.t().reshape({6})));
  found.square().sum().backward();
  BOOST_TEST(at::equal(x_value.grad(), 2 * x_value));
  BOOST_TEST(run(builder, {x_value}).is_alias_of(x_value));
}

BOOST_AUTO_TEST_CASE(a_kernel_that_does_not_exist_is_an_error_of_the_configuration) {
  GraphBuilder builder;
  const Slot x = builder.input("x");
  builder.output(builder.node(aten + "bitwise_not.default", {{"self", builder.ref(x)}}));
  check_throws<levin::ConfigError>([&] { run(builder, {at::ones({2})}); }, {"[exported] ", "model.py:1", "not implemented for 'Float'"});
}

// A buffer that is changed in place and then assigned to itself has one new version: a backward may have saved it.
BOOST_AUTO_TEST_CASE(buffers_are_changed_in_place) {
  GraphBuilder builder;
  const Slot buffer = builder.input("buffer"), x = builder.input("x");
  const Slot sum = builder.node(aten + "add_.Tensor", {{"self", builder.ref(buffer)}, {"other", builder.ref(x)}});
  builder.output(builder.node(aten + "copy_.default", {{"self", builder.ref(buffer)}, {"src", builder.ref(sum)}}));
  const Tensor state = at::zeros({2});
  const Interpreter interpreter(builder.graph, {{.slot = buffer, .tensor = state}});
  const auto version = state._version();
  interpreter.call({at::ones({2})});
  interpreter.call({at::ones({2})});
  BOOST_TEST(at::equal(state, at::full({2}, 2.)));
  BOOST_TEST(state._version() == version + 2);
}

BOOST_AUTO_TEST_CASE(higher_order_operators) {
  GraphBuilder builder;
  const Slot x = builder.input("x");
  const Slot positive = builder.input("positive");
  const Slot frozen =
      builder.node(higher + "wrap_with_set_grad_enabled", {{"", Item(false)}, {"", unary("exp.default")}, {"", builder.ref(x)}});
  const Slot kept = builder.node(higher + "tag_activation_checkpoint", {{"", unary("sin.default")}, {"", builder.ref(x)}});
  const Slot chosen = builder.node(higher + "cond", {{"", builder.ref(positive)},
                                                     {"", unary("cos.default")},
                                                     {"", unary("tan.default")},
                                                     {"", List{ListKind::tensors, {builder.ref(x)}}}});
  const Slot product = builder.node(aten + "mul.Tensor", {{"self", builder.ref(frozen)}, {"other", builder.ref(kept)}});
  builder.output(builder.node(aten + "add.Tensor", {{"self", builder.ref(product)}, {"other", builder.ref(chosen)}}));
  for (const bool condition : {true, false}) {
    const Tensor x_value = at::arange(1, 4, at::kDouble).requires_grad_();
    const Tensor found = run(builder, {x_value, at::full({}, condition, at::kBool)});
    BOOST_TEST(at::allclose(found, x_value.exp() * x_value.sin() + (condition ? x_value.cos() : x_value.tan()), 1e-14, 1e-14));
    found.sum().backward();
    const Tensor last = condition ? -x_value.sin() : 1 / x_value.cos().square();
    BOOST_TEST(at::allclose(x_value.grad(), x_value.exp() * x_value.cos() + last, 1e-13, 1e-13));
  }
}

BOOST_AUTO_TEST_CASE(autocast_regions) {
  GraphBuilder inner;
  const Slot a = inner.input("a");
  inner.output(inner.node(aten + "matmul.default", {{"self", inner.ref(a)}, {"other", inner.ref(a)}}));
  GraphBuilder builder;
  const Slot x = builder.input("x");
  builder.output(builder.node(higher + "wrap_with_autocast", {{"", Item(std::string("cpu"))},
                                                              {"", Item(at::kBFloat16)},
                                                              {"", Item(true)},
                                                              {"", Item()},
                                                              {"", std::make_shared<const exported::Graph>(inner.graph)},
                                                              {"", builder.ref(x)}}));
  BOOST_TEST((run(builder, {at::ones({2, 2})}).scalar_type() == at::kBFloat16));
  BOOST_TEST((run(inner, {at::ones({2, 2})}).scalar_type() == at::kFloat));
}

// Dtypes that the graph names follow the module's where they are the exported parameters'; others stay.
BOOST_AUTO_TEST_CASE(dtypes_and_constants_follow_the_placement) {
  GraphBuilder builder;
  const Slot constant = builder.input("constant"), x = builder.input("x");
  const Slot made = builder.node(aten + "zeros.default", {{"size", List{ListKind::integers, {Item(int64_t{2})}}}});
  builder.graph.values.back().meta = exported::TensorMeta{.dtype = at::kDouble, .sizes = {}};
  const Slot cast = builder.node(aten + "to.dtype", {{"self", builder.ref(x)}, {"dtype", Item(at::kDouble)}});
  const Slot single = builder.node(aten + "to.dtype", {{"self", builder.ref(x)}, {"dtype", Item(at::kFloat)}});
  const Slot half = builder.node(aten + "to.dtype", {{"self", builder.ref(x)}, {"dtype", Item(at::kHalf)}});
  for (const Slot slot : {constant, made, cast, single, half}) builder.output(slot);
  Interpreter interpreter(builder.graph, {{.slot = constant, .tensor = at::ones({2}, at::kDouble), .constant = true}});
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kDouble}) {
    interpreter.place({.dtype = dtype, .exported = {at::kDouble}});
    const auto found = interpreter.call({at::ones({2}, dtype)});
    for (size_t i = 0; i < 3; i++) BOOST_TEST((found[i].toTensor().scalar_type() == dtype));
    BOOST_TEST((found[3].toTensor().scalar_type() == (dtype == at::kDouble ? at::kFloat : dtype)));
    BOOST_TEST((found[4].toTensor().scalar_type() == (dtype == at::kBFloat16 ? dtype : at::kHalf)));
  }
}

// A literal tensor may be narrower than the exported parameters, and results of integers have PyTorch's default dtype, float32.
BOOST_AUTO_TEST_CASE(literals_and_integers_promote_no_module) {
  for (const auto exported_dtype : {at::kFloat, at::kDouble})
    for (const auto dtype : {at::kHalf, at::kBFloat16, at::kFloat, at::kDouble}) {
      BOOST_TEST_CONTEXT(exported_dtype << " as " << dtype) {
        GraphBuilder builder;
        const Slot literal = builder.input("literal"), weight = builder.input("weight"), x = builder.input("x"), ids = builder.input("ids");
        const auto sum_of = [&](Slot a, Slot b) {
          return builder.node(aten + "add.Tensor", {{"self", builder.ref(a)}, {"other", builder.ref(b)}});
        };
        const Slot scaled = builder.node(aten + "mul.Tensor", {{"self", builder.ref(x)}, {"other", builder.ref(literal)}});
        const Slot ratio = builder.node(aten + "div.Tensor", {{"self", builder.ref(ids)}, {"other", Item(int64_t{4})}});
        const Slot part = builder.node(aten + "mul.Tensor", {{"self", builder.ref(ids)}, {"other", Item(0.25)}});
        const Slot root = builder.node(aten + "sqrt.default", {{"self", builder.ref(ids)}});
        const Slot all = sum_of(sum_of(scaled, ratio), sum_of(part, root));
        builder.output(builder.node(aten + "matmul.default", {{"self", builder.ref(all)}, {"other", builder.ref(weight)}}));
        Interpreter interpreter(builder.graph, {{.slot = literal, .tensor = at::full({3}, 0.5, at::kFloat), .constant = true},
                                                {.slot = weight, .tensor = at::ones({3, 2}, dtype)}});
        interpreter.place({.dtype = dtype, .exported = {exported_dtype}});
        const Tensor found = interpreter.call({at::ones({2, 3}, dtype), at::full({2, 3}, 4, at::kLong)}).at(0).toTensor();
        BOOST_TEST((found.scalar_type() == dtype));
        BOOST_TEST(at::equal(found.to(at::kDouble), at::full({2, 2}, 13.5, at::kDouble)));
      }
    }
}

// A mask is filled with torch.finfo(scores.dtype).min, which is a number of the graph; a dtype that cannot represent it would refuse it.
BOOST_AUTO_TEST_CASE(limits_of_a_dtype_are_those_of_the_one_that_computes) {
  const double least = std::numeric_limits<float>::lowest();
  GraphBuilder builder;
  const Slot x = builder.input("x"), mask = builder.input("mask");
  builder.output(
      builder.node(aten + "masked_fill.Scalar", {{"self", builder.ref(x)}, {"mask", builder.ref(mask)}, {"value", Item(least)}}));
  builder.output(
      builder.node(aten + "full.default",
                   {{"size", List{ListKind::integers, {Item(int64_t{2})}}}, {"fill_value", Item(least)}, {"dtype", Item(at::kFloat)}}));
  builder.output(builder.node(aten + "mul.Tensor", {{"self", builder.ref(x)}, {"other", Item(least)}}));
  Interpreter interpreter(builder.graph);
  const std::pair<at::ScalarType, double> expected[] = {
      {at::kHalf, -65504.}, {at::kBFloat16, -3.3895313892515355e38}, {at::kFloat, least}, {at::kDouble, least}};
  for (const auto& [dtype, limit] : expected) {
    interpreter.place({.dtype = dtype, .exported = {at::kFloat}});
    for (const auto& value : interpreter.call({at::ones({2}, dtype), at::ones({2}, at::kBool)}))
      BOOST_TEST((value.toTensor().scalar_type() == dtype && value.toTensor()[0].item<double>() == limit), dtype);
  }
  // Under autocast the module's dtype stays, and scores have 16 bits.
  interpreter.place({.dtype = at::kFloat, .exported = {at::kFloat}});
  const auto mixed = interpreter.call({at::ones({2}, at::kHalf), at::ones({2}, at::kBool)});
  BOOST_TEST(mixed[0].toTensor()[0].item<double>() == -65504.);
  BOOST_TEST(mixed[1].toTensor()[0].item<double>() == least);
}

// As the first evaluation of an archive with one graph does, which comes before the first step.
BOOST_AUTO_TEST_CASE(constants_placed_in_inference_mode_serve_a_training) {
  GraphBuilder builder;
  const Slot constant = builder.input("constant"), x = builder.input("x");
  builder.output(builder.node(aten + "mul.Tensor", {{"self", builder.ref(x)}, {"other", builder.ref(constant)}}));
  Interpreter interpreter(builder.graph, {{.slot = constant, .tensor = at::full({2}, 3., at::kDouble), .constant = true}});
  {
    const c10::InferenceMode evaluates;
    interpreter.place({.dtype = at::kFloat, .exported = {at::kDouble}});
    interpreter.call({at::ones({2}, at::kFloat)});
  }
  const Tensor given = at::ones({2}, at::kFloat).requires_grad_();
  interpreter.call({given}).at(0).toTensor().sum().backward();
  BOOST_TEST(at::equal(given.grad(), at::full({2}, 3., at::kFloat)));
}

// All exceptions of a kernel get its line, also in the graph of a higher-order operator. BatchSizeFinder recognizes those of memory.
BOOST_AUTO_TEST_CASE(errors_have_their_line_and_an_exit_code) {
  GraphBuilder builder;
  const Slot x = builder.input("x");
  builder.output(builder.node(higher + "tag_activation_checkpoint", {{"", unary("sin.default")}, {"", builder.ref(x)}}));
  const Interpreter interpreter(builder.graph);
  const Tensor given = at::zeros({4});
  const auto run_with = [&](const std::function<void()>& fail) {
    const FailingAllocator allocator(fail);
    interpreter.call({given});
  };
  const std::function<void()> out_of_memory[] = {[] { TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory"); },
                                                 [] { TORCH_CHECK(false, "DefaultCPUAllocator: can't allocate memory"); },
                                                 [] { throw std::bad_alloc(); }};
  for (const auto& fail : out_of_memory) {
    check_throws<levin::IoError>([&] { run_with(fail); }, {"[exported] ", "model.py:1", " failed: "});
    BOOST_CHECK_EXCEPTION(run_with(fail), levin::IoError, levin::is_out_of_memory);
  }
  check_throws<levin::DataError>([&] { run_with([] { TORCH_CHECK(false, "another error"); }); },
                                 {"[exported] ", "model.py:1", " failed: another error"});
  check_throws<levin::DataError>([&] { run_with([] { throw std::length_error("too long"); }); }, {"[exported] ", "model.py:1", "too long"});
}

// A chain of n values of a megabyte each holds two of them at a time.
BOOST_AUTO_TEST_CASE(values_are_released_after_their_last_use) {
  GraphBuilder builder;
  const Slot x = builder.input("x");
  const Slot y = builder.node(aten + "sin.default", {{"self", builder.ref(x)}});
  builder.output(builder.node(aten + "cos.default", {{"self", builder.ref(y)}}));
  Tensor given = at::zeros({4});
  const c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl> watched(given.getIntrusivePtr());
  exported::Stack stack;
  stack.emplace_back(std::move(given));
  const Interpreter interpreter(builder.graph);
  interpreter.call(std::move(stack));
  BOOST_TEST(watched.expired());
}

BOOST_AUTO_TEST_SUITE_END()
