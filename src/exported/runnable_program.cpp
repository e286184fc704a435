#include "runnable_program.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "levin/core/error.h"
#include "levin/core/text.h"
#include "program_checks.h"

namespace levin::exported {
namespace {

// The program's bound inputs by slot.
std::map<Slot, Interpreter::Binding> bindings_of(const Program& program, const std::vector<Weight>& weights,
                                                 const ProgramTensors& tensors) {
  std::map<Slot, Interpreter::Binding> bindings;
  for (const auto& input : program.inputs) {
    const auto index = static_cast<size_t>(input.weight);
    if (input.kind == InputKind::parameter || input.kind == InputKind::buffer)
      bindings[input.slot] = {input.slot, tensors.weights.at(index), /*constant=*/!weights.at(index).persistent};
    if (input.kind == InputKind::constant) bindings[input.slot] = {input.slot, tensors.constants.at(index), /*constant=*/true};
  }
  return bindings;
}

std::vector<Interpreter::Binding> values_of(const std::map<Slot, Interpreter::Binding>& bindings) {
  std::vector<Interpreter::Binding> values;
  values.reserve(bindings.size());
  for (const auto& [slot, binding] : bindings) values.push_back(binding);
  return values;
}

const at::Tensor& returned_tensor(const IValue& result, const std::string& name) {
  if (!result.isTensor() || !result.toTensor().defined())
    throw DataError(fmt::format("the graph returns no tensor as {}", quote(name)), "export the model again", "exported");
  return result.toTensor();
}

void assign_buffer(const at::Tensor& buffer, const at::Tensor& value, const std::string& name) {
  if (buffer.sizes() != value.sizes())
    throw DataError(
        fmt::format("the graph returns [{}] as the buffer {}, which is [{}]", fmt::join(value.sizes().begin(), value.sizes().end(), ", "),
                    quote(name), fmt::join(buffer.sizes().begin(), buffer.sizes().end(), ", ")),
        "export the model again", "exported");
  const at::NoGradGuard no_grad;
  buffer.copy_(value);
}

}  // namespace

RunnableProgram::RunnableProgram(const Program& program, const std::vector<Weight>& weights, const Cut& cut, const ProgramTensors& tensors)
    : inputs_(program, check_writes(program, weights)) {
  const auto bindings = bindings_of(program, weights, tensors);
  for (const auto& call : cut.calls) {
    std::vector<Interpreter::Binding> bound;
    const size_t first = call.graph.inputs.size() - call.bound.size();
    std::vector<at::Tensor> changing;
    for (size_t i = 0; i < call.bound.size(); i++) {
      const auto& outer = bindings.at(call.bound[i]);
      bound.push_back({call.graph.inputs[first + i], outer.tensor, outer.constant});
    }
    for (const Slot slot : call.changing) changing.push_back(bindings.at(slot).tensor);
    units_.push_back({Interpreter(call.graph, std::move(bound)), std::move(changing)});
  }
  interpreter_.emplace(cut.graph, values_of(bindings), [&](size_t call) { return call_unit(cut, tensors, call); });
  for (size_t i = 0; i < program.outputs.size(); i++) {
    const auto& output = program.outputs[i];
    if (!std::holds_alternative<Item>(program.graph.outputs.at(i)))
      throw ConfigError("the model returns a list inside of another container", "return a dict of tensors", "exported");
    if (output.kind == OutputKind::buffer_mutation)
      new_buffers_.push_back({i, output.name, tensors.weights.at(static_cast<size_t>(output.weight))});
    const auto* made = std::get_if<SlotRef>(&std::get<Item>(program.graph.outputs[i]));
    const auto* value = made ? &program.graph.values[static_cast<size_t>(made->slot)] : nullptr;
    if ((output.kind != OutputKind::user && output.kind != OutputKind::loss) || !value || value->kind != ValueKind::tensor) continue;
    positions_.push_back(i);
    outputs_.push_back(describe_tensor(output.name, value->meta, program.symbols));
  }
}

Function RunnableProgram::call_unit(const Cut& cut, const ProgramTensors& tensors, size_t call) const {
  return [unit = tensors.units.at(cut.calls.at(call).path).ptr(), program = &units_.at(call)](Stack& stack) {
    UnitValues values{std::move(stack), program};
    if (!program->changing.empty()) values.buffers = std::make_shared<std::vector<at::Tensor>>();
    stack = unit->forward(std::move(values)).items;
  };
}

ExportedProgram::Outputs RunnableProgram::run(const Batch& batch, const Placement& placement) {
  if (placement_ != placement) {
    interpreter_->place(placement);
    for (auto& unit : units_) unit.interpreter.place(placement);
    placement_ = placement;
  }
  const auto results = interpreter_->call(inputs_.take(batch, placement));
  for (const auto& buffer : new_buffers_) assign_buffer(buffer.tensor, returned_tensor(results[buffer.output], buffer.name), buffer.name);
  ExportedProgram::Outputs outputs;
  for (size_t i = 0; i < positions_.size(); i++)
    outputs.emplace(outputs_[i].name, returned_tensor(results[positions_[i]], outputs_[i].name));
  return outputs;
}

}  // namespace levin::exported
