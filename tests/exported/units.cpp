#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>

#include "../../src/exported/choose_units.h"
#include "../../src/exported/cut.h"
#include "../../src/exported/program_checks.h"
#include "../../src/exported/unit_patterns.h"
#include "fixture.h"
#include "graph_builder.h"
#include "levin/core/error.h"
#include "levin/nn/unit.h"

namespace exported = levin::exported;
using exported::InputKind;
using exported::Item;
using exported::Slot;
using exported::ValueKind;
using levin::test::check_throws;
using levin::test::fixture;
using levin::test::GraphBuilder;

BOOST_AUTO_TEST_SUITE(exported_units)

namespace {

const std::string aten = "torch.ops.aten.";

/// Two blocks with a weight each: y = x * weight, called by `blocks.0` and `blocks.1`.
struct TwoBlocks : GraphBuilder {
  TwoBlocks() {
    first = input("first"), second = input("second"), buffer = input("buffer"), x = input("x");
    model.weights = {
        {.name = "blocks.0.weight", .aliases = {}, .sizes = {}, .strides = {}, .record = {}, .parameter = true, .requires_grad = true},
        {.name = "blocks.1.weight", .aliases = {}, .sizes = {}, .strides = {}, .record = {}, .parameter = true, .requires_grad = true},
        {.name = "blocks.0.count", .aliases = {}, .sizes = {}, .strides = {}, .record = {}}};
  }
  Slot times(Slot value, Slot weight, const std::string& module, const std::string& call = {}) {
    return node(aten + "mul.Tensor", {{"self", ref(value)}, {"other", ref(weight)}}, ValueKind::tensor, module, call);
  }
  Slot unary(const std::string& name, Slot value, const std::string& module, const std::string& call = {}) {
    return node(aten + name + ".default", {{"self", ref(value)}}, ValueKind::tensor, module, call);
  }
  exported::Model finished(Slot result) {
    output(result);
    auto program = std::make_shared<exported::Program>();
    program->graph = graph;
    const std::pair<Slot, InputKind> kinds[] = {
        {first, InputKind::parameter}, {second, InputKind::parameter}, {buffer, InputKind::buffer}, {x, InputKind::user}};
    for (const auto& [slot, kind] : kinds)
      program->inputs.push_back({.kind = kind,
                                 .name = graph.values[static_cast<size_t>(slot)].name,
                                 .slot = slot,
                                 .weight = kind == InputKind::user ? -1 : slot,
                                 .literal = {}});
    program->outputs = {{.name = "y"}};
    model.train = model.eval = program;
    return model;
  }

  exported::Model model;
  Slot first, second, buffer, x;
};

void check_refused(const exported::Model& model, const std::vector<std::string>& parts) {
  check_throws<levin::ConfigError>([&] { exported::choose_units(model, std::vector<std::string>{"blocks.*"}); }, parts);
}

}  // namespace

BOOST_AUTO_TEST_CASE(patterns) {
  BOOST_TEST(exported::fits_pattern("blocks.3", "blocks.*"));
  BOOST_TEST(exported::fits_pattern("encoder.layer.3", "encoder.layer.*"));
  BOOST_TEST(exported::fits_pattern("encoder.layer.3", "*.*.3"));
  BOOST_TEST(!exported::fits_pattern("blocks.3.fc", "blocks.*"));
  BOOST_TEST(!exported::fits_pattern("blocks", "blocks.*"));
  BOOST_TEST(!exported::fits_pattern("blocks.3", "blocks"));
}

BOOST_AUTO_TEST_CASE(the_longest_list_is_the_default) {
  TwoBlocks builder;
  Slot y = builder.x;
  for (const std::string module : {"stem.0", "stem.1", "blocks.0", "blocks.1", "blocks.2", "head"}) y = builder.unary("relu", y, module);
  BOOST_TEST(exported::longest_list(builder.graph) == "blocks.*");
  BOOST_TEST(exported::longest_list(TwoBlocks().graph).empty());
  const auto choice = exported::choose_units(builder.finished(y), {});
  BOOST_TEST(choice.units == (std::vector<std::string>{"blocks.0", "blocks.1", "blocks.2"}), boost::test_tools::per_element());
  BOOST_TEST(exported::choose_units(builder.model, std::vector<std::string>{}).units.empty());
}

// Sizes between the nodes of a call belong to no module, and go into the unit, or out of it.
BOOST_AUTO_TEST_CASE(a_call_takes_and_returns_tensors_and_sizes) {
  TwoBlocks builder;
  const Slot y = builder.times(builder.x, builder.first, "blocks.0");
  const Slot size = builder.node(aten + "sym_size.int", {{"self", builder.ref(y)}, {"dim", Item(int64_t{0})}}, ValueKind::integer);
  const Slot z = builder.unary("sin", y, "blocks.0");
  const Slot u = builder.times(z, builder.second, "blocks.1");
  const Slot viewed = builder.node(aten + "view.default",
                                   {{"self", builder.ref(u)}, {"size", exported::List{exported::ListKind::integers, {builder.ref(size)}}}},
                                   ValueKind::tensor, "blocks.1");
  const auto choice = exported::choose_units(builder.finished(viewed), std::vector<std::string>{"blocks.*"});
  BOOST_REQUIRE(choice.train.calls.size() == 2u);
  BOOST_TEST(choice.train.graph.nodes.size() == 2u);
  const auto &first = choice.train.calls[0], &second = choice.train.calls[1];
  BOOST_TEST(first.path == "blocks.0");
  BOOST_TEST(first.graph.nodes.size() == 3u);
  BOOST_TEST(first.graph.inputs.size() == 2u);   // x and the weight
  BOOST_TEST(first.graph.outputs.size() == 2u);  // the size and z
  BOOST_TEST(second.graph.inputs.size() == 3u);
  BOOST_TEST(first.bound == std::vector<Slot>{builder.first}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_module_that_is_called_twice_is_one_unit_with_two_calls) {
  TwoBlocks builder;
  Slot y = builder.times(builder.x, builder.first, "blocks.0");
  y = builder.times(y, builder.second, "blocks.1");
  y = builder.times(y, builder.first, "blocks.0", "@1");
  const auto choice = exported::choose_units(builder.finished(y), std::vector<std::string>{"blocks.*"});
  BOOST_TEST(choice.units.size() == 2u);
  BOOST_TEST(choice.train.calls.size() == 3u);
}

BOOST_AUTO_TEST_CASE(interleaved_calls_are_refused) {
  TwoBlocks builder;
  Slot y = builder.times(builder.x, builder.first, "blocks.0");
  y = builder.times(y, builder.second, "blocks.1");
  check_refused(builder.finished(builder.times(y, builder.first, "blocks.0")), {"blocks.0", "other modules run between", "model.py:3"});
}

BOOST_AUTO_TEST_CASE(a_parameter_that_is_read_outside_its_unit_is_refused) {
  TwoBlocks builder;
  Slot y = builder.times(builder.x, builder.first, "blocks.0");
  y = builder.times(y, builder.second, "blocks.1");
  check_refused(builder.finished(builder.times(y, builder.first, "head")),
                {"blocks.0.weight", "read outside", "module \"head\"", "model.py:3"});
  // Under a second name outside it belongs to the whole model.
  builder.model.weights[0].aliases = {"head.weight"};
  builder.graph.outputs.clear();
  BOOST_TEST(exported::choose_units(builder.finished(y), std::vector<std::string>{"blocks.*"}).units.size() == 2u);
}

// Through a view, too. What the unit made itself, and buffers, may change.
BOOST_AUTO_TEST_CASE(a_unit_that_changes_its_input_is_refused) {
  TwoBlocks builder;
  Slot y = builder.times(builder.x, builder.first, "blocks.0");
  const Slot view =
      builder.node(aten + "unsqueeze.default", {{"self", builder.ref(y)}, {"dim", Item(int64_t{0})}}, ValueKind::tensor, "blocks.1");
  builder.unary("relu_", view, "blocks.1");
  check_refused(builder.finished(builder.times(y, builder.second, "blocks.1")),
                {"blocks.1", "changes its input in place", "relu_", "model.py:3"});

  TwoBlocks fine;
  y = fine.unary("relu_", fine.times(fine.x, fine.first, "blocks.0"), "blocks.0");
  fine.node(aten + "add_.Tensor", {{"self", fine.ref(fine.buffer)}, {"other", Item(int64_t{1})}}, ValueKind::tensor, "blocks.0");
  const auto choice = exported::choose_units(fine.finished(y), std::vector<std::string>{"blocks.*"});
  BOOST_REQUIRE(choice.train.calls.size() == 1u);
  BOOST_TEST(choice.train.calls[0].changing == std::vector<Slot>{fine.buffer}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_call_inside_a_graph_is_refused) {
  TwoBlocks inner, builder;
  inner.output(inner.unary("relu", inner.x, "blocks.0"));
  auto graph = std::make_shared<exported::Graph>(inner.graph);
  graph->inputs = {inner.x};
  const Slot y = builder.node("torch.ops.higher_order.wrap_with_set_grad_enabled",
                              {{"", Item(false)}, {"", std::shared_ptr<const exported::Graph>(graph)}, {"", builder.ref(builder.x)}});
  check_refused(builder.finished(y), {"blocks.0", "called inside", "set_grad_enabled"});
}

// The default patterns report what they cannot cut, and cut the rest.
BOOST_AUTO_TEST_CASE(problems_of_the_default_are_reported) {
  TwoBlocks builder;
  Slot y = builder.times(builder.x, builder.first, "blocks.0");
  y = builder.times(y, builder.second, "blocks.1");
  builder.finished(builder.times(y, builder.first, "head"));
  builder.model.description.units = {"blocks.*"};
  const auto choice = exported::choose_units(builder.model, {});
  BOOST_TEST(choice.units == std::vector<std::string>{"blocks.1"}, boost::test_tools::per_element());
  BOOST_REQUIRE(choice.problems.size() == 1u);
  BOOST_TEST(choice.problems[0].starts_with("blocks.0 is not a unit: "));
}

BOOST_AUTO_TEST_CASE(patterns_that_fit_nothing_are_refused) {
  const auto make = [](const std::vector<std::string>& patterns) { return levin::ExportedProgram(fixture("gpt.pt2"), patterns); };
  check_throws<levin::ConfigError>([&] { make({"block.*"}); }, {"block.*", "no submodule", "blocks"});
  check_throws<levin::ConfigError>([&] { make({"blocks.*", "blocks.*.up"}); }, {"blocks.*.up", "inside another unit"});
}

BOOST_AUTO_TEST_CASE(changes_that_no_checkpoint_would_have_are_refused) {
  const auto changed = [](const std::function<Slot(TwoBlocks&)>& which) {
    TwoBlocks builder;
    const Slot y = builder.unary("relu_", which(builder), "blocks.0");
    return builder.finished(y);
  };
  const auto check = [](const exported::Model& model) { return exported::check_writes(*model.train, model.weights); };
  check_throws<levin::ConfigError>([&] { check(changed([](TwoBlocks& b) { return b.first; })); },
                                   {"parameter", "optimizers alone", "model.py:1"});
  auto model = changed([](TwoBlocks& b) { return b.buffer; });
  BOOST_TEST(check(model).empty());
  model.weights[2].persistent = false;
  check_throws<levin::ConfigError>([&] { check(model); }, {"buffer", "persistent=True"});
  BOOST_TEST(check(changed([](TwoBlocks& b) { return b.x; })).size() == 1u);
}

// Units have Python's names, and so have their parameters, with and without units.
BOOST_AUTO_TEST_CASE(names_are_pythons) {
  levin::ExportedProgram plain(fixture("gpt.pt2"), std::vector<std::string>{}), cut(fixture("gpt.pt2"));
  BOOST_TEST(cut.description().units == (std::vector<std::string>{"blocks.0", "blocks.1"}), boost::test_tools::per_element());
  BOOST_TEST(plain.description().units.empty());
  std::vector<std::string> names, names_with_units;
  for (const auto& item : plain.named_parameters()) names.push_back(item.key());
  for (const auto& item : cut.named_parameters()) names_with_units.push_back(item.key());
  BOOST_TEST(names == names_with_units, boost::test_tools::per_element());
  BOOST_TEST(std::count(names.begin(), names.end(), "blocks.1.attention_norm.bias") == 1);
  const auto modules = cut.named_modules("", /*include_self=*/false);
  BOOST_TEST(dynamic_cast<levin::UnitBase*>(modules["blocks.1"].get()));
  struct Owner : torch::nn::Module {
  } owner;
  cut.register_in(owner);
  std::vector<std::string> owned;
  for (const auto& item : owner.named_parameters()) owned.push_back(item.key());
  BOOST_TEST(owned == names, boost::test_tools::per_element());
}

// It has one graph, a module that is called twice, a tied weight, a region without gradients, literals and constants.
BOOST_AUTO_TEST_CASE(an_archive_of_torch_export_alone_trains) {
  const std::string file = std::string(LEVIN_TESTS) + "/exported/structures/features.pt2";
  levin::ExportedProgram plain(file, std::vector<std::string>{}), cut(file, std::vector<std::string>{"blocks.*"});
  BOOST_TEST(cut.description().units.size() == 2u);
  const auto batch = [](int64_t samples) {
    return levin::Batch{{"tokens", at::arange(samples * 5).remainder(8).view({samples, 5})}, {"targets", at::arange(samples).remainder(8)}};
  };
  std::map<std::string, levin::Tensor> gradients[2];
  double losses[2];
  for (const auto i : {0, 1}) {
    auto& model = i == 0 ? plain : cut;
    at::manual_seed(5);
    const auto loss = model.forward(batch(4)).at("loss");
    losses[i] = loss.item<double>();
    loss.backward();
    for (const auto& item : model.named_parameters())
      if (item.value().grad().defined()) gradients[i][item.key()] = item.value().grad();
  }
  BOOST_TEST(losses[0] == losses[1]);
  BOOST_TEST(gradients[0].size() == 8u);
  BOOST_TEST(levin::test::difference(gradients[1], gradients[0], 1e-7) == "");
  check_throws<levin::DataError>([&] { plain.forward(batch(65)); }, {"tokens", "dimension 0 is not 2..64"});
  plain.eval();
  check_throws<levin::ConfigError>([&] { plain.forward(batch(4)); }, {"one graph", "aten.dropout"});
}

BOOST_AUTO_TEST_CASE(batches_are_compared_with_the_export) {
  levin::ExportedProgram model(fixture("gpt.pt2"));
  const levin::test::EagerRun eager("gpt");
  const auto& inputs = model.description().inputs;
  BOOST_REQUIRE(inputs.size() == 2u);
  BOOST_TEST(inputs[0].name == "tokens");
  BOOST_TEST(inputs[0].describe() == "tokens [1.., 6] int64");
  BOOST_TEST(model.description().loss == "loss");
  for (const int64_t samples : {1, 2, 4}) BOOST_TEST(model.forward(eager.batch(0, 0, samples)).at("logits").sizes()[0] == samples);
  const auto with = [&](const std::string& name, levin::Tensor tensor) {
    auto batch = eager.batch(0);
    batch.set(name, std::move(tensor));
    return batch;
  };
  BOOST_TEST(model.forward(with("tokens", eager.batch(0)["tokens"].to(at::kByte))).contains("loss"));  // no number is lost
  check_throws<levin::DataError>(
      [&] {
        model.forward(with("tokens", at::zeros({4, 5}, at::kLong)));
      },
      {"tokens", "[4, 5]", "dimension 1 is not 6"});
  check_throws<levin::DataError>([&] { model.forward(with("tokens", at::zeros({3, 6}, at::kLong))); }, {"must agree", "targets"});
  check_throws<levin::DataError>([&] { model.forward(with("tokens", at::zeros({4, 6}))); }, {"tokens", "float32", "int64"});
  check_throws<levin::DataError>([&] { model.forward({{"x", at::zeros({4})}}); }, {"no \"tokens\"", "only x"});
}

BOOST_AUTO_TEST_SUITE_END()
