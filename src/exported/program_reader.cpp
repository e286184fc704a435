#include "program_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "graph_reader.h"
#include "json_tree.h"
#include "levin/core/text.h"
#include "signature_reader.h"
#include "stored_tensors.h"

namespace levin::exported {
namespace {

// The versions that this LibTorch writes.
constexpr int64_t schema_major = 8, newest_schema_minor = 17, aten_version = 10;
constexpr auto known_versions = "export the model with PyTorch 2.11";

void check_versions(JsonFile& file) {
  const JsonPlace root(file);
  const auto version = root.member("schema_version");
  version.only({"major", "minor"});
  const auto major = version.member("major").integer(0), minor = version.member("minor").integer(0);
  if (major != schema_major)
    version.unusable(fmt::format("is {}.{}; Levin reads {}.0 to {}.{}", major, minor, schema_major, schema_major, newest_schema_minor),
                     known_versions);
  file.newer = minor > newest_schema_minor;
  for (const auto& [name, json] : root.member("opset_version").members()) {
    const auto opset = json.integer(0);
    if (name == "aten" && opset != aten_version)
      json.unusable(fmt::format("is {}; Levin runs version {} of the ATen operators", opset, aten_version), known_versions);
  }
}

void check_dialect(const JsonPlace& root) {
  const auto names = root.member("verifiers").names();
  if (std::find(names.begin(), names.end(), "TRAINING") != names.end()) return;
  root.member("verifiers")
      .unusable(fmt::format("is [{}]: the graph was lowered for inference and has lost what training needs", listed(names)),
                "save what torch.export.export returns, without run_decompositions; levin.export does that");
}

}  // namespace

std::shared_ptr<const Program> read_program(const Archive& archive, const std::string& name, WeightTable& weights) {
  const auto record = fmt::format("models/{}.json", name);
  JsonFile file(archive.path().string(), record, archive.text(record, most_json_bytes));
  const JsonPlace root(file);
  check_versions(file);
  root.only({"graph_module", "opset_version", "range_constraints", "schema_version", "verifiers", "torch_version", "guards_code"});
  check_dialect(root);
  const auto module = root.member("graph_module");
  module.only({"graph", "signature", "module_call_graph", "metadata", "treespec_namedtuple_fields"});

  auto program = std::make_shared<Program>();
  program->name = name;
  SymbolTable symbols(root.member("range_constraints"));
  program->graph = *read_graph(module.member("graph"), name, symbols);
  const auto constants_config = fmt::format("data/constants/{}_constants_config.json", name);
  std::vector<Weight> constants;
  if (archive.has(constants_config)) constants = read_stored_tensors(archive, constants_config, "data/constants/");
  check_total(constants, archive);
  SignatureReader(*program, weights, std::move(constants)).read(module);
  program->symbols = symbols.symbols();
  return program;
}

}  // namespace levin::exported
