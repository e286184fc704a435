#include "signature_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "levin/core/text.h"
#include "tree_names.h"

namespace levin::exported {
namespace {

/// The names, unless one is empty or there twice.
bool all_different(const std::vector<std::string>& names) {
  const std::set<std::string_view> set(names.begin(), names.end());
  return set.size() == names.size() && !set.contains("");
}

Slot slot_of(const std::variant<Item, List>& output) {
  const auto* item = std::get_if<Item>(&output);
  const auto* value = item ? std::get_if<SlotRef>(item) : nullptr;
  return value ? value->slot : no_slot;
}

constexpr auto tensors_only = "return tensors from forward, and assign buffers with copy_ or in place";

}  // namespace

SignatureReader::SignatureReader(Program& program, WeightTable& weights, std::vector<Weight> constants)
    : program_(program), weights_(weights), constants_(std::move(constants)) {
  for (size_t i = 0; i < constants_.size(); i++) constant_index_.emplace(constants_[i].name, i);
}

void SignatureReader::read(const JsonPlace& module) {
  const auto signature = module.member("signature");
  signature.only({"input_specs", "output_specs"});
  const auto& graph = program_.graph;
  const auto inputs = signature.member("input_specs"), outputs = signature.member("output_specs");
  if (inputs.size() != graph.inputs.size())
    inputs.refuse(fmt::format("has {} entries for a graph with {} inputs", inputs.size(), graph.inputs.size()));
  if (outputs.size() != graph.outputs.size())
    outputs.refuse(fmt::format("has {} entries for a graph with {} outputs", outputs.size(), graph.outputs.size()));
  size_t i = 0;
  std::set<std::string> weights_seen;
  for (const auto& json : inputs.items()) {
    auto input = read_input(json, graph.inputs[i++]);
    if ((input.kind == InputKind::parameter || input.kind == InputKind::buffer) && !weights_seen.insert(input.name).second)
      json.refuse(fmt::format("has {} again", quote(input.name)));
    program_.inputs.push_back(std::move(input));
  }
  i = 0;
  for (const auto& json : outputs.items()) program_.outputs.push_back(read_output(json, graph.outputs[i++]));

  const auto calls = module.member("module_call_graph").items();  // the first is of the model itself
  if (calls.empty()) module.member("module_call_graph").refuse("is empty");
  if (const auto call = calls.front().find("signature")) {
    name_inputs(*call);
    name_outputs(*call);
  }
}

void SignatureReader::check_name(const JsonPlace& json, Slot slot) const {
  if (slot == no_slot || program_.graph.values[static_cast<size_t>(slot)].name != json.name())
    json.refuse(fmt::format("is {}, the graph has {} there", quote(json.name()),
                            slot == no_slot ? "no tensor" : quote(program_.graph.values[static_cast<size_t>(slot)].name)));
}

const TensorMeta& SignatureReader::meta_of(Slot slot, const JsonPlace& json) const {
  const auto& value = program_.graph.values[static_cast<size_t>(slot)];
  if (!value.meta) json.refuse(fmt::format("has no dtype and sizes: {} is not among the graph's tensor_values", quote(value.name)));
  return *value.meta;
}

size_t SignatureReader::constant_of(const JsonPlace& name) const {
  const auto found = constant_index_.find(name.name());
  if (found == constant_index_.end()) name.refuse(fmt::format("names {}, which the archive does not store", quote(name.name())));
  return found->second;
}

int SignatureReader::stored_buffer(const JsonPlace& name, bool persistent) {
  int index = weights_.find(name.name());
  if (index < 0 && !persistent) index = weights_.add_buffer(constants_[constant_of(name)]);
  if (index < 0) name.refuse(fmt::format("names {}, which the archive does not store", quote(name.name())));
  return index;
}

int SignatureReader::stored_constant(const JsonPlace& name) {
  program_.constants.push_back(constants_[constant_of(name)]);
  return static_cast<int>(program_.constants.size() - 1);
}

Item SignatureReader::read_literal(const JsonPlace& json) const {
  const auto [kind, value] = json.choice();
  if (kind == "as_none") return std::monostate{};
  if (kind == "as_int") return value.integer();
  if (kind == "as_float") return value.number();
  if (kind == "as_bool") return value.boolean();
  if (kind == "as_string") return value.text();
  json.refuse(fmt::format("is {}, not a kind of constant", quote(kind)));
}

Input SignatureReader::read_input(const JsonPlace& json, Slot slot) {
  const auto [kind, spec] = json.choice();
  Input input;
  input.slot = slot;
  if (kind == "constant_input") {
    spec.only({"name", "value"});
    input.kind = InputKind::literal, input.name = spec.member("name").name(), input.literal = read_literal(spec.member("value"));
    return input;
  }
  if (kind == "user_input") {
    spec.only({"arg"});
    const auto [form, argument] = spec.member("arg").choice();
    if (form != "as_tensor")
      json.unusable(fmt::format("is an input of kind {}; Levin's batches have tensors only", quote(form)),
                    "give the model this number as a tensor");
    input.name = argument.member("name").name();
    check_name(argument.member("name"), slot);
    meta_of(slot, json);
    return input;
  }
  if (kind == "custom_obj" || kind == "token")
    json.unusable(fmt::format("is an input of kind {}, which Levin does not run", quote(kind)), "write the model with tensors only");
  check_name(spec.member("arg").member("name"), slot);
  const auto& meta = meta_of(slot, json);
  if (kind == "parameter") {
    spec.only({"arg", "parameter_name"});
    const auto name = spec.member("parameter_name");
    input.kind = InputKind::parameter, input.name = name.name(), input.weight = weights_.find(input.name);
    if (input.weight < 0) name.refuse(fmt::format("names {}, which the archive does not store", quote(input.name)));
    weights_.bind(input.weight, input.kind, meta, json);
  } else if (kind == "buffer") {
    spec.only({"arg", "buffer_name", "persistent"});
    const auto name = spec.member("buffer_name");
    input.kind = InputKind::buffer, input.name = name.name();
    input.weight = stored_buffer(name, spec.member("persistent").boolean());
    weights_.bind(input.weight, input.kind, meta, json);
  } else if (kind == "tensor_constant") {
    spec.only({"arg", "tensor_constant_name"});
    const auto name = spec.member("tensor_constant_name");
    input.kind = InputKind::constant, input.name = name.name(), input.weight = stored_constant(name);
    check_same(program_.constants.back(), meta, json);
  } else {
    json.refuse(fmt::format("is {}, not a kind of input", quote(kind)));
  }
  return input;
}

Output SignatureReader::read_output(const JsonPlace& json, const std::variant<Item, List>& graph_output) {
  const auto choice = json.choice();
  const std::string_view kind = choice.first;
  const JsonPlace& spec = choice.second;
  Output output;
  const Slot slot = slot_of(graph_output);
  const auto check_tensor = [&] {
    check_name(spec.member("arg").member("name"), slot);
    if (program_.graph.values[static_cast<size_t>(slot)].kind != ValueKind::tensor) json.refuse("is not a tensor");
  };
  if (kind == "user_output") {
    spec.only({"arg"});
    output.name = fmt::format("output_{}", program_.outputs.size());
    const auto [form, argument] = spec.member("arg").choice();
    if (form == "as_tensor") check_name(argument.member("name"), slot);
    if ((form == "as_tensor") != (slot != no_slot && program_.graph.values[static_cast<size_t>(slot)].kind == ValueKind::tensor))
      json.refuse("is a tensor here or in the graph, but not in both");
  } else if (kind == "loss_output") {
    output.kind = OutputKind::loss, output.name = "loss";
    check_tensor();
  } else if (kind == "buffer_mutation") {
    output.kind = OutputKind::buffer_mutation, output.name = spec.member("buffer_name").name();
    check_tensor();
    const auto buffer = std::find_if(program_.inputs.begin(), program_.inputs.end(),
                                     [&](const Input& input) { return input.kind == InputKind::buffer && input.name == output.name; });
    if (buffer == program_.inputs.end()) json.refuse(fmt::format("changes {}, which is not a buffer of the graph", quote(output.name)));
    output.weight = buffer->weight;
  } else if (kind == "user_input_mutation") {
    output.kind = OutputKind::input_mutation, output.name = spec.member("user_input_name").name();
    check_tensor();
    const auto input = std::find_if(program_.inputs.begin(), program_.inputs.end(), [&](const Input& candidate) {
      return candidate.kind == InputKind::user && candidate.name == output.name;
    });
    if (input == program_.inputs.end()) json.refuse(fmt::format("changes {}, which is not an input of the graph", quote(output.name)));
    output.input = static_cast<int>(input - program_.inputs.begin());
  } else if (kind == "gradient_to_parameter" || kind == "gradient_to_user_input" || kind == "parameter_mutation" || kind == "token") {
    json.unusable(fmt::format("is an output of kind {}, which Levin does not run", quote(kind)), tensors_only);
  } else {
    json.refuse(fmt::format("is {}, not a kind of output", quote(kind)));
  }
  return output;
}

// torch.export keeps the names of what forward takes as the structure of its arguments; the graph's own names may differ from them.
void SignatureReader::name_inputs(const JsonPlace& call) {
  std::vector<std::string> positional;
  if (const auto names = call.find("forward_arg_names")) positional = names->names();
  const auto names = argument_names(call.member("in_spec"), positional);
  std::vector<Input*> given;
  for (auto& input : program_.inputs)
    if (input.kind == InputKind::user || input.kind == InputKind::literal) given.push_back(&input);
  if (names.size() != given.size()) call.member("in_spec").refuse(fmt::format("has {} leaves for {} inputs", names.size(), given.size()));
  if (!all_different(names)) return;
  for (size_t i = 0; i < given.size(); i++) given[i]->name = names[i];
  for (auto& output : program_.outputs)
    if (output.input >= 0) output.name = program_.inputs[static_cast<size_t>(output.input)].name;
}

void SignatureReader::name_outputs(const JsonPlace& call) {
  auto names = leaf_names(call.member("out_spec"), "output_");
  std::vector<size_t> given;
  for (size_t i = 0; i < program_.outputs.size(); i++)
    if (program_.outputs[i].kind == OutputKind::user || program_.outputs[i].kind == OutputKind::loss) given.push_back(i);
  if (names.size() != given.size()) call.member("out_spec").refuse(fmt::format("has {} leaves for {} outputs", names.size(), given.size()));
  if (names == std::vector<std::string>{""}) {  // a scalar is the loss
    const Slot slot = slot_of(program_.graph.outputs[given[0]]);
    const auto* meta = slot == no_slot ? nullptr : &program_.graph.values[static_cast<size_t>(slot)].meta;
    names[0] = meta && *meta && (*meta)->sizes.empty() && c10::isFloatingType((*meta)->dtype) ? "loss" : "output";
  }
  if (!all_different(names)) call.member("out_spec").refuse("has a name twice");
  for (size_t i = 0; i < given.size(); i++) program_.outputs[given[i]].name = names[i];
}

}  // namespace levin::exported
