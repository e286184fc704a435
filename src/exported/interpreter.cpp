#include "interpreter.h"

#include <c10/core/DefaultDtype.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "call_error.h"
#include "levin/core/error.h"

namespace levin::exported {
namespace {

bool is_wrapped_number(const at::Tensor& tensor) { return tensor.unsafeGetTensorImpl()->is_wrapped_number(); }

// Whether it decides on the dtype of a result. Python's numbers do not.
bool decides_dtype(const at::Tensor& tensor) {
  return tensor.defined() && (tensor.is_floating_point() || tensor.is_complex()) && !is_wrapped_number(tensor);
}

bool has_deciding_tensor(const Stack& stack) {
  return std::any_of(stack.begin(), stack.end(), [](const IValue& value) {
    if (value.isTensor()) return decides_dtype(value.toTensor());
    if (!value.isTensorList()) return false;
    const auto tensors = value.toTensorVector();
    return std::any_of(tensors.begin(), tensors.end(), decides_dtype);
  });
}

// An argument that is a dtype, else that of the first tensor.
std::optional<c10::ScalarType> dtype_of_call(const std::vector<Operand>& operands, const Stack& stack) {
  for (size_t i = 0; i < operands.size(); i++)
    if (operands[i].dtype && stack[i].isInt()) return static_cast<c10::ScalarType>(stack[i].toInt());
  for (const auto& value : stack)
    if (value.isTensor() && decides_dtype(value.toTensor())) return value.toTensor().scalar_type();
  return std::nullopt;
}

}  // namespace

Stack Interpreter::call(Stack inputs) const {
  if (inputs.size() != inputs_.size())
    throw UsageError("exported", fmt::format("a graph with {} inputs is called with {}", inputs_.size(), inputs.size()),
                     "export the model again");
  Values values(size_);
  for (size_t i = 0; i < bindings_.size(); i++) values[static_cast<size_t>(bindings_[i].slot)] = bound_[i];
  for (size_t i = 0; i < inputs.size(); i++) values[static_cast<size_t>(inputs_[i])] = std::move(inputs[i]);
  inputs.clear();
  run(values);
  for (const auto& output : outputs_) output.push(inputs, values);
  return inputs;
}

void Interpreter::run(Values& values) const {
  Stack stack;
  for (const auto& instruction : instructions_) {
    try {
      stack.clear();
      for (const auto& operand : instruction.operands) operand.push(stack, values);
      if (instruction.check) instruction.check(stack);
      if (instruction.op)
        call_operator(instruction, stack);
      else
        instruction.function(stack);
      store(instruction, stack, values);
    } catch (const Error&) {
      throw;  // of a graph or a unit that the instruction calls
    } catch (const std::exception& error) {
      refuse_call(instruction.text, error);
    }
    for (const Slot slot : instruction.frees) values[static_cast<size_t>(slot)] = IValue();
  }
}

// PyTorch's default dtype, which results of integers get, is the process's and not the module's.
void Interpreter::call_operator(const Instruction& instruction, Stack& stack) const {
  if (!instruction.limits.empty())
    if (const auto dtype = dtype_of_call(instruction.operands, stack))
      for (const size_t i : instruction.limits) stack[i] = limit_within(stack[i], *dtype);
  const bool moves = default_dtype_moves_ && !has_deciding_tensor(stack);
  instruction.op->callBoxed(stack);
  if (!moves) return;
  for (auto& value : stack)
    if (value.isTensor() && value.toTensor().defined() && value.toTensor().is_floating_point())
      value = value.toTensor().to(placement_.map(value.toTensor().scalar_type()));
}

void Interpreter::store(const Instruction& instruction, Stack& stack, Values& values) {
  const auto keep = [&](Slot slot, IValue value) {
    if (slot != no_slot) values[static_cast<size_t>(slot)] = std::move(value);
  };
  size_t next = 0;
  for (const auto& output : instruction.outputs) {
    if (next >= stack.size()) {
      TORCH_CHECK(std::all_of(output.slots.begin(), output.slots.end(), [](Slot slot) { return slot == no_slot; }), "it returned ",
                  stack.size(), " values, the graph expects more");
      continue;
    }
    if (instruction.flat) {
      for (const Slot slot : output.slots) {
        TORCH_CHECK(next < stack.size(), "it returned ", stack.size(), " values, the graph expects more");
        keep(slot, std::move(stack[next++]));
      }
    } else if (!output.list) {
      keep(output.slots[0], std::move(stack[next++]));
    } else {
      const auto tensors = stack[next++].toTensorVector();
      TORCH_CHECK(tensors.size() == output.slots.size(), "it returned ", tensors.size(), " tensors, the graph expects ",
                  output.slots.size());
      for (size_t i = 0; i < tensors.size(); i++) keep(output.slots[i], tensors[i]);
    }
  }
}

void Interpreter::place(const Placement& placement) {
  placement_ = placement;
  const auto default_dtype = c10::get_default_dtype_as_scalartype();
  default_dtype_moves_ = placement.map(default_dtype) != default_dtype;
  const c10::InferenceMode off(false);  // in an evaluation, for a training to come
  for (size_t i = 0; i < bindings_.size(); i++)
    if (bindings_[i].constant) bound_[i] = placement.move(bindings_[i].tensor);
  for (auto& instruction : instructions_) {
    for (auto& operand : instruction.operands) operand.place(placement);
    for (auto& inner : instruction.inner) inner->place(placement);
  }
}

}  // namespace levin::exported
