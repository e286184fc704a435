#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "levin/exported/objective_module.h"

namespace levin {

class ExportedProgram;

struct ExportedModelConfig {
  std::filesystem::path file = {};
  std::string units = "auto";
  ObjectiveConfig objective = {};
  /// ConfigError without a file.
  void validate() const;
};
LEVIN_CONFIG(ExportedModelConfig, (file, "archive that levin.export wrote, such as net.pt2"),
             (units, "submodules that are sharded and checkpointed as a whole, as 'blocks.*, head'; auto: as the export suggests; none"),
             (objective, "what it is trained for", flattened))
LEVIN_CHOICE(ExportedModelConfig, "exported")

/// A model that Python exported. Parameters and buffers have Python's names. The batch has a tensor for each input of the graph, by name.
class ExportedModel : public ObjectiveModule {
 public:
  using Config = ExportedModelConfig;
  /// Errors are ExportedProgram's, and ConfigError, with the names that the archive has, for an expression that does not fit it.
  explicit ExportedModel(const ExportedModelConfig& config);
  ~ExportedModel() override;
  /// Warns, on rank 0, of suggested units that could not be cut.
  void on_fit_start() override;

 protected:
  Outputs compute(const Batch& batch) override;

 private:
  std::unique_ptr<ExportedProgram> program_;
};

}  // namespace levin
