#include "levin/exported/exported_program.h"

#include <ATen/autocast_mode.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>

#include "archive.h"
#include "choose_units.h"
#include "levin/core/error.h"
#include "module_tree.h"
#include "node_text.h"
#include "program_checks.h"
#include "runnable_program.h"
#include "unit_patterns.h"

namespace levin::exported {
namespace {

std::vector<Tensor> load_all(const Archive& archive, const std::vector<Weight>& weights) {
  std::vector<Tensor> tensors;
  tensors.reserve(weights.size());
  for (const auto& weight : weights) tensors.push_back(archive.load(weight));
  return tensors;
}

// Floating-point dtypes of parameters and buffers.
std::vector<c10::ScalarType> dtypes_of(const std::vector<Weight>& weights) {
  std::vector<c10::ScalarType> dtypes;
  for (const auto& weight : weights)
    if (c10::isFloatingType(weight.dtype) && std::find(dtypes.begin(), dtypes.end(), weight.dtype) == dtypes.end())
      dtypes.push_back(weight.dtype);
  return dtypes;
}

std::string loss_of(const Model& model) {
  if (!model.description.loss.empty()) return model.description.loss;
  const auto& outputs = model.train->outputs;
  const auto found = std::find_if(outputs.begin(), outputs.end(), [](const auto& output) {
    return output.kind == OutputKind::loss || (output.kind == OutputKind::user && output.name == "loss");
  });
  return found == outputs.end() ? std::string() : found->name;
}

}  // namespace
}  // namespace levin::exported

namespace levin {

struct ExportedProgram::Impl {
  Impl(ExportedProgram& module, const std::filesystem::path& file, const std::optional<std::vector<std::string>>& patterns) {
    const exported::Archive archive(file);
    const exported::Model model = exported::read_model(archive);
    const auto choice = exported::choose_units(model, patterns);
    const exported::ModuleTree tree(module, model.weights, choice.units, exported::module_classes(model.train->graph),
                                    [&](const exported::Weight& weight) { return archive.load(weight); });
    auto weights = tree.tensors();
    for (size_t i = 0; i < weights.size(); i++) {
      if (!weights[i].defined()) weights[i] = archive.load(model.weights[i]);  // of a buffer that is not persistent
      if (model.weights[i].persistent) registered.push_back(weights[i]);
    }
    exported_dtypes = exported::dtypes_of(model.weights);
    const auto make = [&](const exported::Program& program, const exported::Cut& cut) {
      const exported::ProgramTensors tensors{weights, exported::load_all(archive, program.constants), tree.units()};
      return std::make_unique<exported::RunnableProgram>(program, model.weights, cut, tensors);
    };
    train = make(*model.train, choice.train);
    if (model.eval != model.train)
      eval = make(*model.eval, choice.eval);
    else if (const auto* node = exported::training_node(model.train->graph))
      only_training = exported::NodeText(*node).describe();
    description = {train->inputs().description(), train->outputs(), exported::loss_of(model), choice.units, choice.problems};
  }

  // The dtype is the widest: under a mixed precision the engine has matrices in that of autocast.
  exported::Placement placement(const Batch& batch) const {
    exported::Placement result{.exported = exported_dtypes};
    if (!registered.empty())
      result.device = registered[0].device();
    else if (!batch.tensors().empty())
      result.device = batch.tensors()[0].second.device();
    for (const auto& tensor : registered)
      if (tensor.is_floating_point()) result.dtype = exported::wider(result.dtype, tensor.scalar_type());
    if (at::autocast::is_autocast_enabled(result.device.type()) && result.dtype != c10::ScalarType::Undefined)
      result.dtype = exported::wider(result.dtype, at::kFloat);
    return result;
  }

  std::vector<Tensor> registered;  ///< parameters and buffers
  std::vector<c10::ScalarType> exported_dtypes;
  std::unique_ptr<exported::RunnableProgram> train, eval;  ///< eval is null where the archive has one graph
  std::string only_training;                               ///< a node because of which the one graph serves training alone
  ExportedDescription description;
};

ExportedProgram::ExportedProgram(const std::filesystem::path& file, const std::optional<std::vector<std::string>>& units) try : torch
  ::nn::Module("ExportedProgram"), impl_(std::make_unique<Impl>(*this, file, units)) {}
catch (const c10::Error& error) {  // names and constants that LibTorch does not take
  throw DataError(fmt::format("{} cannot be loaded: {}", file.string(), error.what_without_backtrace()), "export the model again",
                  "exported");
}

ExportedProgram::~ExportedProgram() = default;

ExportedProgram::Outputs ExportedProgram::forward(const Batch& batch, bool training) {
  if (!training && !impl_->only_training.empty())
    throw ConfigError(fmt::format("the archive has one graph, exported for training: {}", impl_->only_training),
                      "export the model with Levin's Python package, which adds a graph for evaluation", "exported");
  auto& program = training || !impl_->eval ? *impl_->train : *impl_->eval;
  return program.run(batch, impl_->placement(batch));
}

void ExportedProgram::register_in(torch::nn::Module& owner) {
  for (const auto& item : named_parameters(/*recurse=*/false))
    owner.register_parameter(item.key(), item.value(), item.value().requires_grad());
  for (const auto& item : named_buffers(/*recurse=*/false)) owner.register_buffer(item.key(), item.value());
  for (const auto& item : named_children()) owner.register_module(item.key(), item.value());
}

const ExportedDescription& ExportedProgram::description() const noexcept { return impl_->description; }

}  // namespace levin
