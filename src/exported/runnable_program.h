#pragma once
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cut.h"
#include "exported_unit.h"
#include "interpreter.h"
#include "levin/exported/exported_program.h"
#include "program_inputs.h"
#include "schema.h"

namespace levin::exported {

/// Tensors of a program, as it binds them.
struct ProgramTensors {
  std::vector<at::Tensor> weights;    ///< by index
  std::vector<at::Tensor> constants;  ///< of this program
  const std::map<std::string, ExportedUnit>& units;
};

/// A program with its tensors, cut into units.
class RunnableProgram {
 public:
  RunnableProgram(const Program& program, const std::vector<Weight>& weights, const Cut& cut, const ProgramTensors& tensors);
  RunnableProgram(const RunnableProgram&) = delete;
  RunnableProgram& operator=(const RunnableProgram&) = delete;

  ExportedProgram::Outputs run(const Batch& batch, const Placement& placement);

  const ProgramInputs& inputs() const noexcept { return inputs_; }
  const std::vector<ExportedTensor>& outputs() const noexcept { return outputs_; }

 private:
  /// An output of the graph that becomes the value of a buffer.
  struct NewBuffer {
    size_t output = 0;
    std::string name;
    at::Tensor tensor;
  };
  Function call_unit(const Cut& cut, const ProgramTensors& tensors, size_t call) const;

  ProgramInputs inputs_;
  std::deque<UnitProgram> units_;  ///< by number of the call
  std::optional<Interpreter> interpreter_;
  std::vector<ExportedTensor> outputs_;
  std::vector<size_t> positions_;  ///< of the outputs, among the graph's
  std::vector<NewBuffer> new_buffers_;
  std::optional<Placement> placement_;
};

}  // namespace levin::exported
