#include "levin/exported/exported_model.h"

#include <fmt/format.h>

#include "levin/core/error.h"
#include "levin/exported/exported_program.h"
#include "levin/trainer/trainer.h"

namespace levin {
namespace {

// The patterns of `units`; empty: those that the export suggests.
std::optional<std::vector<std::string>> unit_patterns(const std::string& text) {
  if (text == "auto") return std::nullopt;
  std::vector<std::string> patterns;
  if (text == "none") return patterns;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    auto pattern = text.substr(begin, end - begin);
    pattern.erase(0, pattern.find_first_not_of(' '));
    pattern.erase(pattern.find_last_not_of(' ') + 1);
    if (pattern.empty())
      throw ConfigError(fmt::format("model.units is \"{}\", which has an empty pattern", text), "give patterns as 'blocks.*, head'");
    patterns.push_back(std::move(pattern));
    begin = end + 1;
  }
  return patterns;
}

}  // namespace

void ExportedModelConfig::validate() const {
  if (file.empty()) throw ConfigError("model.file is empty", "give the archive that levin.export wrote, as --model.file net.pt2");
  unit_patterns(units);
}

ExportedModel::ExportedModel(const ExportedModelConfig& config)
    : program_(std::make_unique<ExportedProgram>(config.file, unit_patterns(config.units))) {
  program_->register_in(*this);
  std::vector<std::string> outputs;
  for (const auto& output : program_->description().outputs) outputs.push_back(output.name);
  set_objective(config.objective, outputs, program_->description().loss);
}

ExportedModel::~ExportedModel() = default;

void ExportedModel::on_fit_start() {
  if (trainer().session().rank() != 0) return;
  for (const auto& problem : program_->description().problems) trainer().session().runtime().log().warning("[exported] {}", problem);
}

ObjectiveModule::Outputs ExportedModel::compute(const Batch& batch) {
  for (const auto& input : program_->description().inputs) tensor_of(batch, input.name, "the exported model");
  return program_->forward(batch, is_training());
}

}  // namespace levin
