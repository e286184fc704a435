// Graphs, signatures and descriptions: what torch.export writes is read as Python means it, and every lie is refused.
#include "../../src/exported/schema.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "../../src/exported/archive.h"
#include "../../src/exported/json_tree.h"
#include "../../src/exported/symbol_table.h"
#include "folder_of_ranks.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "test_paths.h"
#include "zip_writer.h"

using namespace levin::test;
using levin::ConfigError;
using levin::DataError;
using namespace levin::exported;
using Json = nlohmann::ordered_json;

BOOST_AUTO_TEST_SUITE(exported_schema)

namespace {

const std::filesystem::path exported_tests = std::filesystem::path(LEVIN_TESTS) / "exported";
using Change = std::function<void(Json&)>;

/// Reads an archive of structures/ after a change of one of its JSON files.
struct Changed {
  FolderOfRanks folder;

  Model read(const EditedArchive& edited) const {
    const auto file = folder.path / "net.pt2";
    std::ofstream(file, std::ios::binary) << edited.text();
    return read_model(Archive(file));
  }
  Model read(const std::string& name, const std::string& record, const Change& change) const {
    EditedArchive edited(exported_tests / "structures" / name);
    auto json = Json::parse(edited[record].bytes);
    change(json);
    edited[record].bytes = json.dump();
    return read(edited);
  }
  Model features(const Change& change) const { return read("features.pt2", "models/model.json", change); }
  Model weights(const Change& change) const {
    return read("features.pt2", "data/weights/model_weights_config.json", [&](Json& json) { change(json.at("config")); });
  }
  /// `parts` are in the message, which begins with the component and names the file and ends with what to do.
  template <class ErrorType = DataError>
  void refuse(const std::vector<std::string>& parts, const Change& change) const {
    check_throws<ErrorType>([&] { features(change); }, with_place(parts, "models/model.json"));
  }
  template <class ErrorType = DataError>
  void refuse_weights(const std::vector<std::string>& parts, const Change& change) const {
    check_throws<ErrorType>([&] { weights(change); }, with_place(parts, ""));
  }
  static std::vector<std::string> with_place(std::vector<std::string> parts, const std::string& record) {
    parts.insert(parts.end(), {"[exported]", "net.pt2", record, "; "});
    return parts;
  }
};

Json& graph(Json& json) { return json.at("graph_module").at("graph"); }
Json& node(Json& json, const std::string& name) {
  auto& nodes = graph(json).at("nodes");
  return *std::find_if(nodes.begin(), nodes.end(), [&](const Json& candidate) { return candidate.at("name") == name; });
}
Json& argument(Json& json, const std::string& name, size_t i) { return node(json, name).at("inputs").at(i).at("arg"); }
Json& specs(Json& json, const char* kind) { return json.at("graph_module").at("signature").at(kind); }

const Node& find_node(const Graph& graph, const std::string& name) {
  const auto found = std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& candidate) { return candidate.name == name; });
  BOOST_REQUIRE_MESSAGE(found != graph.nodes.end(), name);
  return *found;
}
std::string value_name(const Graph& graph, Slot slot) { return graph.values.at(static_cast<size_t>(slot)).name; }
std::string tensor_name(const Graph& graph, const Argument& argument) {
  return value_name(graph, std::get<SlotRef>(std::get<Item>(argument.value)).slot);
}
std::vector<std::string> names_of(const std::vector<Weight>& weights) {
  std::vector<std::string> names;
  for (const auto& weight : weights) names.push_back(weight.name);
  return names;
}
const Weight& weight_of(const Model& model, const std::string& name) {
  const auto found = std::find_if(model.weights.begin(), model.weights.end(), [&](const Weight& weight) { return weight.name == name; });
  BOOST_REQUIRE_MESSAGE(found != model.weights.end(), name);
  return *found;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_program_is_read_as_python_means_it) {
  const auto model = read_model(Archive(exported_tests / "structures/features.pt2"));
  BOOST_TEST((model.train == model.eval));
  const auto& program = *model.train;
  const auto& graph = program.graph;
  BOOST_REQUIRE_EQUAL(program.symbols.size(), 1u);
  BOOST_TEST(program.symbols[0].min == 2);
  BOOST_TEST(program.symbols[0].max == 64);
  BOOST_REQUIRE_EQUAL(program.inputs.size(), graph.inputs.size());

  const auto& tokens = program.inputs[20];
  BOOST_TEST((tokens.kind == InputKind::user));
  BOOST_TEST(tokens.name == "tokens");
  BOOST_TEST(value_name(graph, tokens.slot) == "tokens");
  const auto& meta = *graph.values[static_cast<size_t>(tokens.slot)].meta;
  BOOST_TEST((meta.dtype == c10::ScalarType::Long && meta.sizes.size() == 2 && meta.sizes[0].symbol == 0 && meta.sizes[0].factor == 1));
  BOOST_TEST((meta.sizes[1].fixed() && meta.sizes[1].offset == 5));
  BOOST_TEST((program.inputs[22].kind == InputKind::literal && program.inputs[22].name == "scale"));
  BOOST_TEST(std::holds_alternative<std::monostate>(program.inputs[22].literal));
  BOOST_TEST(std::get<int64_t>(program.inputs[23].literal) == 3);
  BOOST_TEST((graph.values[static_cast<size_t>(program.inputs[23].slot)].kind == ValueKind::nothing));

  std::vector<std::string> outputs;
  for (const auto& output : program.outputs) outputs.push_back(output.name);
  BOOST_TEST(outputs == (std::vector<std::string>{"loss", "hidden.0", "hidden.1.0", "hidden.1.1", "count"}),
             boost::test_tools::per_element());
  BOOST_TEST(std::get<int64_t>(std::get<Item>(graph.outputs[4])) == 3);
  BOOST_TEST(model.description.outputs == (std::vector<std::string>{"loss", "hidden.0", "hidden.1.0", "hidden.1.1"}),
             boost::test_tools::per_element());
  BOOST_TEST(model.description.inputs == (std::vector<std::string>{"tokens", "targets"}), boost::test_tools::per_element());
  BOOST_TEST(model.description.loss == "loss");
}

BOOST_AUTO_TEST_CASE(nodes_have_arguments_modules_and_lines) {
  const auto model = read_model(Archive(exported_tests / "structures/features.pt2"));
  const auto& graph = model.train->graph;
  const auto& linear = find_node(graph, "linear_2");
  BOOST_TEST(linear.target == "torch.ops.aten.linear.default");
  BOOST_REQUIRE_EQUAL(linear.arguments.size(), 3u);
  BOOST_TEST(linear.arguments[1].name == "weight");
  BOOST_TEST(tensor_name(graph, linear.arguments[1]) == "p_blocks_0_weight");
  BOOST_REQUIRE_EQUAL(linear.modules.size(), 2u);
  BOOST_TEST((linear.modules[0].path.empty() && linear.modules[1].path == "blocks.0" && linear.modules[1].key == "L__self__blocks.0@1"));
  BOOST_TEST(linear.modules[1].type == "torch.nn.modules.linear.Linear");
  BOOST_TEST(find_node(graph, "linear").modules[1].key == "L__self__blocks.0");
  BOOST_TEST(linear.source.find("File \"record_structure.py\", line ") != std::string::npos);
  BOOST_TEST(find_node(graph, "sym_size_int_2").modules.empty());

  const auto& split = find_node(graph, "split");
  BOOST_REQUIRE_EQUAL(split.outputs.size(), 1u);
  BOOST_TEST((split.outputs[0].list && split.outputs[0].slots.size() == 2 && value_name(graph, split.outputs[0].slots[1]) == "getitem_8"));
  const auto& index = std::get<List>(find_node(graph, "index").arguments[1].value);
  BOOST_TEST((index.kind == ListKind::optional_tensors && index.items.size() == 2 &&
              std::holds_alternative<std::monostate>(index.items[0]) && std::holds_alternative<SlotRef>(index.items[1])));
  const auto& zeros = find_node(graph, "zeros");
  const auto& size = std::get<List>(zeros.arguments[0].value);
  BOOST_TEST((size.kind == ListKind::integers && value_name(graph, std::get<SlotRef>(size.items.at(0)).slot) == "add_7"));
  BOOST_TEST((zeros.arguments[1].name == "dtype" && zeros.arguments[1].keyword));
  BOOST_TEST((std::get<c10::ScalarType>(std::get<Item>(zeros.arguments[1].value)) == c10::ScalarType::Double));
  BOOST_TEST((std::get<c10::Device>(std::get<Item>(zeros.arguments[2].value)) == c10::Device(c10::DeviceType::CPU)));
  const auto& made = zeros.outputs[0].slots[0];
  const auto& doubled = graph.values[static_cast<size_t>(made)].meta->sizes[0];
  BOOST_TEST((doubled.factor == 2 && doubled.offset == 1 && doubled.symbol == 0 && doubled.linear() && !doubled.fixed()));

  const auto without_gradient = std::find_if(graph.nodes.begin(), graph.nodes.end(),
                                             [](const Node& node) { return node.target.ends_with("wrap_with_set_grad_enabled"); });
  BOOST_REQUIRE((without_gradient != graph.nodes.end()));
  BOOST_TEST(std::get<bool>(std::get<Item>(without_gradient->arguments[0].value)) == false);
  const auto& inner = *std::get<std::shared_ptr<const Graph>>(without_gradient->arguments[1].value);
  BOOST_TEST(inner.inputs.size() == without_gradient->arguments.size() - 2);
  BOOST_TEST(!inner.nodes.empty());
  BOOST_TEST(inner.outputs.size() == 1u);
}

BOOST_AUTO_TEST_CASE(weights_are_in_the_order_of_python) {
  const auto model = read_model(Archive(exported_tests / "structures/features.pt2"));
  BOOST_TEST(weight_of(model, "embedding.weight").aliases == std::vector<std::string>{"head.weight"}, boost::test_tools::per_element());
  const auto names = names_of(model.weights);
  BOOST_TEST((std::find(names.begin(), names.end(), "head.weight") == names.end()));
  BOOST_TEST(names.back() == "scratch");
  BOOST_TEST(names.size() == 17u);
  BOOST_TEST((weight_of(model, "turned").parameter && !weight_of(model, "turned").requires_grad && weight_of(model, "turned").persistent));
  BOOST_TEST((weight_of(model, "norm.weight").parameter && weight_of(model, "norm.weight").requires_grad));
  BOOST_TEST((!weight_of(model, "norm.running_mean").parameter && weight_of(model, "norm.running_mean").persistent));
  BOOST_TEST((!weight_of(model, "scratch").parameter && !weight_of(model, "scratch").persistent));
  for (const auto& input : model.train->inputs) {
    if (input.kind == InputKind::parameter || input.kind == InputKind::buffer) {
      const auto& weight = model.weights.at(static_cast<size_t>(input.weight));
      BOOST_TEST((weight.name == input.name || weight.aliases == std::vector<std::string>{input.name}), input.name);
    }
    if (input.kind == InputKind::constant) BOOST_TEST(model.train->constants.at(static_cast<size_t>(input.weight)).name == input.name);
  }
}

BOOST_AUTO_TEST_CASE(archives_of_the_python_package_are_read) {
  const auto model = read_model(Archive(exported_tests / "structures/two_graphs.pt2"));
  BOOST_TEST((model.train != model.eval));
  BOOST_TEST((model.train->name == "train" && model.eval->name == "eval"));
  BOOST_TEST(model.description.loss == "loss");
  BOOST_TEST(model.description.units == std::vector<std::string>{"blocks.*"}, boost::test_tools::per_element());
  BOOST_TEST(names_of(model.weights) == (std::vector<std::string>{"fc.weight", "fc.bias"}), boost::test_tools::per_element());
  BOOST_TEST(model.eval->inputs[1].weight == 1);
  size_t archives = 0;
  for (const auto& file : std::filesystem::directory_iterator(exported_tests / "fixtures")) {
    if (file.path().extension() != ".pt2") continue;
    const Archive archive(file.path());
    const auto read = read_model(archive);
    BOOST_TEST(read.description.loss == "loss", file.path().string());
    for (const auto& weight : read.weights) BOOST_TEST(archive.load(weight).sizes() == at::IntArrayRef(weight.sizes));
    for (const auto& constant : read.train->constants) archive.load(constant);
    archives++;
  }
  BOOST_TEST(archives > 5);
}

BOOST_AUTO_TEST_CASE(a_scalar_is_the_loss) {
  const auto model = read_model(Archive(exported_tests / "structures/scalar.pt2"));
  BOOST_TEST((model.description.loss == "loss" && model.train->outputs[0].name == "loss" && model.train->inputs[1].name == "x"));
}

BOOST_AUTO_TEST_CASE(versions_and_dialects_that_levin_does_not_run_are_refused) {
  const Changed changed;
  check_throws<ConfigError>([] { read_model(Archive(exported_tests / "structures/inference.pt2")); },
                            {"[exported]", "inference.pt2: models/model.json, verifiers is [ATEN]", "without run_decompositions"});
  for (const int major : {7, 9})
    changed.refuse<ConfigError>({fmt::format("schema_version is {}.17; Levin reads 8.0 to 8.17", major), "PyTorch 2.11"},
                                [&](Json& json) { json["schema_version"]["major"] = major; });
  changed.refuse<ConfigError>({"opset_version.aten is 9", "version 10"}, [](Json& json) { json["opset_version"]["aten"] = 9; });
  // A newer schema is read where it says nothing new.
  BOOST_TEST(changed.features([](Json& json) { json["schema_version"]["minor"] = 18; }).weights.size() == 17u);
  changed.refuse<ConfigError>({"nodes[3] has \"stream\", which this version of Levin does not know"}, [](Json& json) {
    json["schema_version"]["minor"] = 18;
    graph(json)["nodes"][3]["stream"] = 1;
  });
  changed.refuse({"nodes[3] has an unknown member \"stream\""}, [](Json& json) { graph(json)["nodes"][3]["stream"] = 1; });
}

BOOST_AUTO_TEST_CASE(graphs_that_contradict_themselves_are_refused) {
  const Changed changed;
  changed.refuse({"uses \"norm\" before it is made"}, [](Json& json) { argument(json, "relu", 0)["as_tensor"]["name"] = "norm"; });
  changed.refuse({"uses \"add_10\" before it is made"},
                 [](Json& json) { argument(json, "relu", 0)["as_tensor"]["name"] = "add_10"; });  // a cycle
  changed.refuse({"uses \"relu\" before it is made"}, [](Json& json) { argument(json, "relu", 0)["as_tensor"]["name"] = "relu"; });
  changed.refuse({"makes \"linear\" again"}, [](Json& json) { node(json, "relu")["outputs"][0]["as_tensor"]["name"] = "linear"; });
  changed.refuse({"makes \"tokens\" again"}, [](Json& json) { node(json, "relu")["outputs"][0]["as_tensor"]["name"] = "tokens"; });
  changed.refuse({"uses \"mul\" as a tensor, it is an integer"},
                 [](Json& json) { argument(json, "sum_6", 0)["as_tensor"]["name"] = "mul"; });
  changed.refuse({"uses \"sum_2\" as an integer, it is a tensor"}, [](Json& json) {
    argument(json, "add_7", 0) = {{"as_sym_int", {{"as_name", "sum_2"}}}};
  });
  changed.refuse({"has 2 members where one is expected"}, [](Json& json) { argument(json, "relu", 0)["as_none"] = true; });
  changed.refuse({"is \"as_thought\", not a kind of argument"}, [](Json& json) { argument(json, "relu", 0) = {{"as_thought", 1}}; });
  changed.refuse({"gives \"weight\" again"}, [](Json& json) { node(json, "linear_3")["inputs"][0]["name"] = "weight"; });
  changed.refuse({"is 99, not the code of a dtype"}, [](Json& json) { argument(json, "zeros", 1)["as_scalar_type"] = 99; });
  changed.refuse({"is 8, not from 1 to 7"}, [](Json& json) { argument(json, "zeros", 1) = {{"as_layout", 8}}; });
  changed.refuse({"is 0, not from 1 to 4"}, [](Json& json) { argument(json, "zeros", 1) = {{"as_memory_format", 0}}; });
  changed.refuse({"is not an integer of 64 bits"}, [](Json& json) { argument(json, "split", 1)["as_int"] = 2.5; });
  changed.refuse({"is not an integer of 64 bits"}, [](Json& json) { argument(json, "split", 1)["as_int"] = UINT64_MAX; });
  changed.refuse({"is not a number"}, [](Json& json) { argument(json, "dropout", 1)["as_float"] = "one"; });
  changed.refuse({"is not true or false"}, [](Json& json) { argument(json, "dropout", 2)["as_bool"] = 1; });
  changed.refuse({"has no \"target\""}, [](Json& json) { node(json, "relu").erase("target"); });
  changed.refuse({"a name is one line"}, [](Json& json) { node(json, "relu")["target"] = "a\nb"; });
  changed.refuse({"tensor_values.tokens.sizes[1].as_int is -1"},
                 [](Json& json) { graph(json)["tensor_values"]["tokens"]["sizes"][1]["as_int"] = -1; });
  changed.refuse({"has 1 strides for 2 dimensions"}, [](Json& json) { graph(json)["tensor_values"]["tokens"]["strides"].erase(0); });
  changed.refuse({"\"tokens\" is not among the graph's tensor_values"}, [](Json& json) { graph(json)["tensor_values"].erase("tokens"); });
  changed.refuse({"range_constraints.s24 is empty"}, [](Json& json) { json["range_constraints"]["s24"]["min_val"] = 65; });
  changed.refuse({"is not an object"}, [](Json& json) { json = Json::array(); });
}

BOOST_AUTO_TEST_CASE(constructs_without_an_interpretation_are_named_with_the_line) {
  const Changed changed;
  const auto refuse = [&](const char* kind, const Json& value) {
    changed.refuse<ConfigError>({kind, "node \"relu\" (torch.ops.aten.relu.default)", "record_structure.py:"}, [&](Json& json) {
      argument(json, "relu", 0) = {{kind, value}};
    });
  };
  refuse("as_custom_obj", {{"name", "a"}, {"class_fqn", "b"}});
  refuse("as_operator", "os.system");
  refuse("as_nested_tensors", Json::array());
  refuse("as_string_to_argument", Json::object());
  changed.refuse<ConfigError>({"is of kind \"as_custom_obj\"", "record_structure.py:"}, [](Json& json) {
    node(json, "relu")["outputs"][0] = {{"as_custom_obj", {{"name", "a"}, {"class_fqn", "b"}}}};
  });
  changed.refuse<ConfigError>({"has objects of Python classes"}, [](Json& json) {
    graph(json)["custom_obj_values"]["a"] = {{"name", "a"}, {"class_fqn", "b"}};
  });
  changed.refuse<ConfigError>({"is a device of type \"fpga\""},
                              [](Json& json) { argument(json, "zeros", 2)["as_device"]["type"] = "fpga"; });
  changed.refuse<ConfigError>({"is an input of kind \"custom_obj\""}, [](Json& json) {
    specs(json, "input_specs")[0] = {{"custom_obj", {{"arg", {{"name", "a"}}}, {"custom_obj_name", "a"}}}};
  });
  for (const auto* kind : {"gradient_to_parameter", "parameter_mutation", "token"})
    changed.refuse<ConfigError>({fmt::format("is an output of kind \"{}\"", kind)}, [&](Json& json) {
      specs(json, "output_specs")[0] = {{kind, {{"arg", {{"name", "add_10"}}}}}};
    });
}

BOOST_AUTO_TEST_CASE(signatures_that_contradict_the_graph_are_refused) {
  const Changed changed;
  changed.refuse({"has 23 entries for a graph with 24 inputs"}, [](Json& json) { specs(json, "input_specs").erase(3); });
  changed.refuse({"has 4 entries for a graph with 5 outputs"}, [](Json& json) { specs(json, "output_specs").erase(0); });
  changed.refuse({"is \"p_turned\", the graph has \"p_embedding_weight\" there"},
                 [](Json& json) { specs(json, "input_specs")[1]["parameter"]["arg"]["name"] = "p_turned"; });
  changed.refuse({"names \"other\", which the archive does not store"},
                 [](Json& json) { specs(json, "input_specs")[1]["parameter"]["parameter_name"] = "other"; });
  changed.refuse({"names \"other\", which the archive does not store"},
                 [](Json& json) { specs(json, "input_specs")[13]["buffer"]["buffer_name"] = "other"; });
  changed.refuse({"names \"other\", which the archive does not store"},
                 [](Json& json) { specs(json, "input_specs")[18]["tensor_constant"]["tensor_constant_name"] = "other"; });
  changed.refuse({"has \"turned\" again"}, [](Json& json) {
    auto& inputs = specs(json, "input_specs");
    inputs[1]["parameter"]["parameter_name"] = "turned";
    graph(json)["tensor_values"]["p_embedding_weight"] = graph(json)["tensor_values"]["p_turned"];
  });
  changed.refuse({"is a parameter, but \"left\" is stored as a buffer"}, [](Json& json) {
    auto& input = specs(json, "input_specs")[9];
    input = {{"parameter", {{"arg", input["buffer"]["arg"]}, {"parameter_name", "left"}}}};
  });
  changed.refuse({"is Float [4, 4] in the graph, but \"turned\" is stored as Float [4, 3]"},
                 [](Json& json) { graph(json)["tensor_values"]["p_turned"]["sizes"][1]["as_int"] = 4; });
  changed.refuse({"is Double [4, 3] in the graph, but \"turned\" is stored as Float [4, 3]"},
                 [](Json& json) { graph(json)["tensor_values"]["p_turned"]["dtype"] = 8; });
  changed.refuse({"is \"thought\", not a kind of input"}, [](Json& json) {
    auto& input = specs(json, "input_specs")[0];
    input = {{"thought", input["parameter"]}};
  });
  changed.refuse({"is \"linear\", the graph has \"add_10\" there"},
                 [](Json& json) { specs(json, "output_specs")[0]["user_output"]["arg"]["as_tensor"]["name"] = "linear"; });
  changed.refuse({"is a tensor here or in the graph"}, [](Json& json) {
    specs(json, "output_specs")[0]["user_output"]["arg"] = {{"as_int", 3}};
  });
  changed.refuse({"changes \"other\", which is not a buffer of the graph"}, [](Json& json) {
    specs(json, "output_specs")[0] = {{"buffer_mutation", {{"arg", {{"name", "add_10"}}}, {"buffer_name", "other"}}}};
  });
  changed.refuse({"module_call_graph is empty"}, [](Json& json) { json["graph_module"]["module_call_graph"] = Json::array(); });
  changed.refuse({"in_spec has 1 leaves for 4 inputs"}, [](Json& json) {
    json["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] =
        R"([1, {"type": "t", "context": null, "children_spec": [{"type": "t", "context": null, "children_spec": []},
          {"type": "d", "context": "[\"a\"]", "children_spec": [{"type": null, "context": null, "children_spec": []}]}]}])";
  });
  changed.refuse({"out_spec has a name twice"}, [](Json& json) {
    auto& spec = json["graph_module"]["module_call_graph"][0]["signature"]["out_spec"];
    auto text = spec.get<std::string>();
    spec = text.replace(text.find("count"), 5, "loss");
  });
}

BOOST_AUTO_TEST_CASE(functional_graphs_name_the_buffers_that_they_change) {
  const Changed changed;
  const auto model = changed.features([](Json& json) {
    graph(json)["outputs"][0]["as_tensor"]["name"] = "add_";
    specs(json, "output_specs")[0] = {{"buffer_mutation", {{"arg", {{"name", "add_"}}}, {"buffer_name", "norm.num_batches_tracked"}}}};
    graph(json)["outputs"][1]["as_tensor"]["name"] = "linear";
    specs(json, "output_specs")[1] = {{"user_input_mutation", {{"arg", {{"name", "linear"}}}, {"user_input_name", "tokens"}}}};
    json["graph_module"]["module_call_graph"][0]["signature"] = nullptr;
  });
  const auto& outputs = model.train->outputs;
  BOOST_TEST((outputs[0].kind == OutputKind::buffer_mutation));
  BOOST_TEST(model.weights.at(static_cast<size_t>(outputs[0].weight)).name == "norm.num_batches_tracked");
  BOOST_TEST(
      (outputs[1].kind == OutputKind::input_mutation && model.train->inputs.at(static_cast<size_t>(outputs[1].input)).name == "tokens"));
  BOOST_TEST(outputs[2].name == "output_2");
}

BOOST_AUTO_TEST_CASE(weights_lie_within_their_entries) {
  const Changed changed;
  const auto meta = [](Json& config, const char* name) -> Json& { return config.at(name).at("tensor_meta"); };
  changed.refuse_weights({"needs 64 bytes from element 0 on", "has 48"},
                         [&](Json& c) { meta(c, "turned")["strides"][1]["as_int"] = 5, meta(c, "turned")["sizes"][0]["as_int"] = 6; });
  changed.refuse_weights({"from element 8 on", "has 40"}, [&](Json& c) { meta(c, "left")["storage_offset"]["as_int"] = 8; });
  changed.refuse_weights({"from element 4611686018427387904 on"},
                         [&](Json& c) { meta(c, "left")["storage_offset"]["as_int"] = int64_t{1} << 62; });
  changed.refuse_weights({"sizes that no memory holds"}, [&](Json& c) { meta(c, "left")["sizes"][0]["as_int"] = int64_t{1} << 62; });
  changed.refuse_weights({"sizes that no memory holds"}, [&](Json& c) {
    meta(c, "empty")["sizes"] = {{{"as_int", 0}}, {{"as_int", int64_t{1} << 62}}, {{"as_int", int64_t{1} << 62}}};
    meta(c, "empty")["strides"] = {{{"as_int", 1}}, {{"as_int", 1}}, {{"as_int", 1}}};
  });
  changed.refuse_weights({"needs", "bytes from element 0 on"}, [&](Json& c) { meta(c, "turned")["dtype"] = 8; });
  changed.refuse_weights({"storage_offset.as_int is -1"}, [&](Json& c) { meta(c, "left")["storage_offset"]["as_int"] = -1; });
  changed.refuse_weights({"strides[0].as_int is -1"}, [&](Json& c) { meta(c, "left")["strides"][0]["as_int"] = -1; });
  changed.refuse_weights({"is a symbol; a stored tensor has fixed sizes"}, [&](Json& c) {
    meta(c, "left")["sizes"][0] = {{"as_expr", {{"expr_str", "Symbol('s0', positive=True, integer=True)"}, {"hint", nullptr}}}};
  });
  changed.refuse_weights({"\"data/weights/weight_99\", which is missing"}, [](Json& c) { c["left"]["path_name"] = "weight_99"; });
  changed.refuse_weights({"which is missing"}, [](Json& c) { c["left"]["path_name"] = "../../../../etc/passwd"; });
  changed.refuse_weights({"names \"norm.bias\", which the archive does not store"}, [](Json& c) { c.erase("norm.bias"); });
  changed.refuse_weights<ConfigError>({"\"left\"", "is pickled", "could run code"}, [](Json& c) { c["left"]["use_pickle"] = true; });
  changed.refuse_weights<ConfigError>({"is a sparse tensor"}, [&](Json& c) { meta(c, "left")["layout"] = 2; });
  changed.refuse_weights<ConfigError>({"\"left\" and \"right\" share memory"},
                                      [&](Json& c) { meta(c, "left")["storage_offset"]["as_int"] = 4; });
  changed.refuse_weights<ConfigError>({"with \"expanded\" its tensors would have"},
                                      [&](Json& c) { meta(c, "expanded")["sizes"][0]["as_int"] = 1 << 29; });
  for (const auto* name : {"norm..bias", ".bias", "bias."})
    check_throws<DataError>([&] { changed.weights([&](Json& c) { c[name] = Json(c["norm.bias"]); }); },
                            {"[exported]", "net.pt2", "is not the name of a weight", "; "});
  for (const auto* name : {"norm", "norm.bias.more"})
    check_throws<DataError>([&] { changed.weights([&](Json& c) { c[name] = Json(c["norm.bias"]); }); },
                            {"[exported]", "net.pt2", "is a weight, but", "; "});
  changed.refuse_weights({"a name is one line"}, [](Json& c) { c["a\nb"] = Json(c["norm.bias"]); });
  changed.refuse_weights({"tensor_meta is not an object"}, [](Json& c) { c["left"]["tensor_meta"] = nullptr; });
  check_throws<ConfigError>(
      [&] {
        changed.read("features.pt2", "data/constants/model_constants_config.json", [](Json& json) {
          auto& tensor = json["config"]["ramp"]["tensor_meta"];
          tensor["sizes"][0]["as_int"] = 1 << 29, tensor["strides"][0]["as_int"] = 0;
        });
      },
      {"[exported]", "with \"ramp\" its tensors would have", "; "});
  // What no graph names is kept: it belongs to the model.
  EditedArchive edited(exported_tests / "structures/features.pt2");
  auto& config = edited["data/weights/model_weights_config.json"].bytes;
  auto json = Json::parse(config);
  json["config"]["extra"] = Json(json["config"]["norm.bias"]), json["config"]["extra"]["path_name"] = "weight_99";
  config = json.dump();
  edited["data/weights/weight_99"].bytes = std::string(16, '\0');
  BOOST_TEST(weight_of(changed.read(edited), "extra").parameter);
}

BOOST_AUTO_TEST_CASE(weights_may_be_a_safetensors_file) {
  const Changed changed;
  EditedArchive edited(exported_tests / "structures/scalar.pt2");
  const auto with = [&](const std::string& header, const std::string& data) {
    auto text = header;
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const uint64_t length = text.size();
    edited["data/weights/model.safetensors"].bytes = std::string(reinterpret_cast<const char*>(&length), sizeof length) + text + data;
    edited.remove("data/weights/model_weights_config.json");
    edited.remove("data/weights/weight_0");
    return changed.read(edited);
  };
  const std::string ones("\0\0\x80?\0\0\x80?", 8);
  const auto model = with(R"({"weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", ones);
  BOOST_REQUIRE_EQUAL(model.weights.size(), 1u);
  BOOST_TEST((model.weights[0].parameter && model.weights[0].requires_grad));
  BOOST_TEST(at::equal(Archive(changed.folder.path / "net.pt2").load(model.weights[0]), at::ones({2})));
  check_throws<DataError>([&] { with(R"({"weight":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}})", ones); },
                          {"[exported]", "data/weights/model.safetensors", "bytes [0, 9) of 8"});
  check_throws<DataError>([&] { with(R"({"weight":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})", ones); },
                          {"but \"weight\" is stored as Double [1]"});
  check_throws<DataError>([&] { with(R"({"other":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", ones); },
                          {"names \"weight\", which the archive does not store"});
}

BOOST_AUTO_TEST_CASE(descriptions_must_say_what_the_graphs_say) {
  const Changed changed;
  const auto refuse = [&]<class ErrorType>(ErrorType*, const std::string& why, const Change& change) {
    check_throws<ErrorType>([&] { changed.read("two_graphs.pt2", "extra/levin.json", change); }, {"[exported]", "net.pt2", why, "; "});
  };
  DataError* damaged = nullptr;
  ConfigError* unusable = nullptr;
  refuse(unusable, "has version 2; this version of Levin reads 1", [](Json& json) { json["version"] = 2; });
  refuse(damaged, "\"models/other.json\" is missing", [](Json& json) { json["eval"] = "other"; });
  refuse(damaged, "weights/other_weights_config.json\" is missing", [](Json& json) { json["main"] = "other"; });
  refuse(damaged, "inputs is [x], the graph \"train\" has [x, y]", [](Json& json) { json["inputs"].erase(1); });
  refuse(damaged, "outputs is [output, los], the graph \"train\" has [output, loss]", [](Json& json) { json["outputs"][1] = "los"; });
  refuse(damaged, "eval_outputs is [output]", [](Json& json) { json["eval_outputs"].erase(1); });
  refuse(damaged, "loss is \"los\", which the graphs do not return", [](Json& json) { json["loss"] = "los"; });
  refuse(damaged, "has no \"inputs\"", [](Json& json) { json.erase("inputs"); });
  // Without a loss, and with what a later package adds.
  BOOST_TEST(changed.read("two_graphs.pt2", "extra/levin.json", [](Json& json) { json["loss"] = nullptr, json["more"] = 1; })
                 .description.loss.empty());
  EditedArchive edited(exported_tests / "structures/two_graphs.pt2");
  edited.remove("extra/levin.json");
  BOOST_TEST(changed.read(edited).eval->name == "eval");
  edited["models/third.json"].bytes = "{}";
  edited.remove("models/eval.json");
  check_throws<ConfigError>([&] { changed.read(edited); }, {"has the graphs third, train, and no extra/levin.json"});
}

BOOST_AUTO_TEST_CASE(json_is_bounded) {
  const Changed changed;
  const auto refuse = [&](const std::string& text, const std::string& why) {
    EditedArchive edited(exported_tests / "structures/scalar.pt2");
    edited["models/model.json"].bytes = text;
    check_throws<DataError>([&] { changed.read(edited); }, {"[exported]", "net.pt2", "models/model.json", why, "; "});
  };
  refuse(std::string(1'000'000, '['), "is nested more than 160 levels deep");
  refuse("{\"a\":" + std::string(400, '[') + std::string(400, ']') + "}", "is nested more than 160 levels deep");
  refuse(R"({"a":1,"b":2,"a":3})", "has an object with \"a\" twice");
  refuse(std::string("{}\0{}", 5), "has a zero byte at 2");
  refuse("", "is not JSON");
  refuse("{} {}", "is not JSON");
  refuse("{\"a\":1e999}", "is not JSON");
  refuse("{\"a\":\"\xff\"}", "is not JSON");
  std::string zeros = "[0";
  for (size_t i = 0; i < JsonFile::most_values; i++) zeros += ",0";
  refuse(zeros + "]", "has more than 4000000 values");
}

BOOST_AUTO_TEST_CASE(sizes_are_linear_in_a_symbol) {
  const std::string s = "Symbol('s24', positive=True, integer=True)";
  const auto linear = [](const std::string& text) {
    const auto found = parse_linear(text);
    return found ? fmt::format("{}*{}+{}", found->factor, found->symbol, found->offset) : "";
  };
  BOOST_TEST(linear(s) == "1*s24+0");
  BOOST_TEST(linear("Mul(Integer(2), " + s + ")") == "2*s24+0");
  BOOST_TEST(linear("Add(Mul(Integer(2), " + s + "), Integer(-1))") == "2*s24+-1");
  BOOST_TEST(linear("Mul(Add(" + s + ", Integer(3)), Integer(4))") == "4*s24+12");
  BOOST_TEST(linear("Add(" + s + ", Mul(Integer(-1), " + s + "), Integer(7))") == "0*+7");
  BOOST_TEST(linear("Integer(5)") == "0*+5");
  const std::vector<std::string> others{"Mul(" + s + ", " + s + ")",
                                        "Add(" + s + ", Symbol('s7', integer=True))",
                                        "Pow(" + s + ", Integer(2))",
                                        "Mul(Integer(9223372036854775807), Integer(2))",
                                        "Integer(99999999999999999999)",
                                        s + " ",
                                        "Symbol('",
                                        "Symbol('')",
                                        "Add(",
                                        "Integer(",
                                        ""};
  for (const auto& other : others) BOOST_TEST(linear(other) == "", other);
  std::string deep;
  for (int i = 0; i < 100'000; i++) deep += "Add(";
  BOOST_TEST(linear(deep) == "");
}

BOOST_AUTO_TEST_SUITE_END()
