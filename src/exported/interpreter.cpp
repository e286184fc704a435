#include "interpreter.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>

#include "call_error.h"
#include "levin/core/error.h"

namespace levin::exported {

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
        instruction.op->callBoxed(stack);
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
  for (size_t i = 0; i < bindings_.size(); i++)
    if (bindings_[i].constant) bound_[i] = placement.move(bindings_[i].tensor);
  for (auto& instruction : instructions_) {
    for (auto& operand : instruction.operands) operand.place(placement);
    for (auto& inner : instruction.inner) inner->place(placement);
  }
}

}  // namespace levin::exported
