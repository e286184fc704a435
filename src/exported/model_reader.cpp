#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "archive.h"
#include "json_tree.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "program_reader.h"
#include "weight_table.h"

namespace levin::exported {
namespace {

constexpr auto description_record = "extra/levin.json";
constexpr auto two_graphs = "write the archive with levin.export, which names the graphs";

std::vector<std::string> graph_names(const Archive& archive) {
  constexpr std::string_view before = "models/", after = ".json";
  std::vector<std::string> names;
  for (const auto& record : archive.records())
    if (record.starts_with(before) && record.ends_with(after) && record.size() > before.size() + after.size())
      names.push_back(record.substr(before.size(), record.size() - before.size() - after.size()));
  return names;
}

std::vector<std::string> optional_names(const JsonPlace& json, std::string_view member) {
  const auto found = json.find(member);
  return found ? found->names() : std::vector<std::string>{};
}

/// Ignores members that a later version of the package adds: it changes the version if others change their meaning.
Description read_description(const JsonPlace& json) {
  constexpr int64_t known_version = 1;
  Description result;
  if (const auto version = json.member("version").integer(0); version != known_version)
    json.unusable(fmt::format("has version {}; this version of Levin reads {}", version, known_version),
                  "export the model with the Python package that came with this Levin");
  result.main = json.member("main").name();
  const auto eval = json.find("eval");
  result.eval = eval ? eval->name() : result.main;
  for (const auto& input : json.member("inputs").items())
    result.inputs.push_back(input.is_object() ? input.member("name").name() : input.name());
  result.outputs = json.member("outputs").names();
  if (const auto loss = json.find("loss")) result.loss = loss->name();
  result.units = optional_names(json, "units");
  return result;
}

/// The description of an archive without levin.json.
Description describe_graphs(const Archive& archive) {
  const auto names = graph_names(archive);
  const auto has = [&](const char* name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  Description result;
  if (names.size() == 1) result.main = result.eval = names.front();
  if (has("train") && has("eval")) result.main = "train", result.eval = "eval";
  if (!result.main.empty()) return result;
  if (names.empty()) throw DataError(fmt::format("{}: models/ has no graph", archive.path().string()), export_again, "exported");
  throw ConfigError(
      fmt::format("{} has the graphs {}, and no {} that says which to train", archive.path().string(), listed(names), description_record),
      two_graphs, "exported");
}

std::vector<std::string> batch_names(const Program& program) {
  std::vector<std::string> names;
  for (const auto& input : program.inputs)
    if (input.kind == InputKind::user) names.push_back(input.name);
  return names;
}

/// Outputs that are tensors.
std::vector<std::string> output_names(const Program& program) {
  std::vector<std::string> names;
  for (size_t i = 0; i < program.outputs.size(); i++) {
    const auto& output = program.outputs[i];
    const auto* item = std::get_if<Item>(&program.graph.outputs[i]);
    if ((output.kind == OutputKind::user || output.kind == OutputKind::loss) && item && std::holds_alternative<SlotRef>(*item))
      names.push_back(output.name);
  }
  return names;
}

/// DataError unless the description's names are those of the graph.
void compare(const JsonPlace& json, std::string_view member, const std::vector<std::string>& described,
             const std::vector<std::string>& found, const std::string& graph) {
  const std::set<std::string> a(described.begin(), described.end()), b(found.begin(), found.end());
  if (a.size() == described.size() && a == b) return;
  json.member(member).refuse(fmt::format("is [{}], the graph {} has [{}]", listed(described), quote(graph), listed(found)));
}

}  // namespace

Model read_model(const Archive& archive) {
  constexpr uint64_t most_bytes = 4 << 20;
  std::optional<JsonFile> file;
  if (archive.has(description_record))
    file.emplace(archive.path().string(), description_record, archive.text(description_record, most_bytes));

  Model model;
  auto& description = model.description;
  description = file ? read_description(JsonPlace(*file)) : describe_graphs(archive);
  WeightTable weights(archive, description.main);
  model.train = read_program(archive, description.main, weights);
  model.eval = description.eval == description.main ? model.train : read_program(archive, description.eval, weights);
  model.weights = weights.take(archive.path().string());

  const auto inputs = batch_names(*model.train), outputs = output_names(*model.train);
  if (!file) {
    description.inputs = inputs, description.outputs = outputs;
    if (std::find(outputs.begin(), outputs.end(), "loss") != outputs.end()) description.loss = "loss";
    return model;
  }
  const JsonPlace json(*file);
  compare(json, "inputs", description.inputs, inputs, description.main);
  compare(json, "inputs", description.inputs, batch_names(*model.eval), description.eval);
  compare(json, "outputs", description.outputs, outputs, description.main);
  if (const auto eval = json.find("eval_outputs"))
    compare(json, "eval_outputs", eval->names(), output_names(*model.eval), description.eval);
  const auto in_both = [&](const std::string& name) {
    const auto evaluated = output_names(*model.eval);
    return std::find(outputs.begin(), outputs.end(), name) != outputs.end() &&
           std::find(evaluated.begin(), evaluated.end(), name) != evaluated.end();
  };
  if (!description.loss.empty() && !in_both(description.loss))
    json.member("loss").refuse(fmt::format("is {}, which the graphs do not return", quote(description.loss)));
  return model;
}

}  // namespace levin::exported
