#include "higher_order.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <optional>
#include <string_view>
#include <utility>

#include "interpreter.h"
#include "levin/core/text.h"
#include "levin/nn/activation_checkpointing.h"
#include "levin/session/precision.h"
#include "node_text.h"
#include "node_use.h"

namespace levin::exported {
namespace {

// The positional arguments of a node.
class Arguments {
 public:
  explicit Arguments(const Node& node) {
    for (const auto& argument : node.arguments)
      if (!argument.keyword) list_.push_back(&argument);
  }
  template <class T>
  const T* find(size_t i) const {
    const auto* item = std::get_if<Item>(&at(i).value);
    return item ? std::get_if<T>(item) : nullptr;
  }
  bool flag(size_t i) const {
    const auto* value = find<bool>(i);
    if (!value) refuse(i, "a boolean");
    return *value;
  }
  const Graph& graph(size_t i) const {
    const auto* value = std::get_if<std::shared_ptr<const Graph>>(&at(i).value);
    if (!value) refuse(i, "a graph");
    return **value;
  }
  std::vector<const Argument*> from(size_t i) const {
    at(i - 1);
    return {list_.begin() + static_cast<std::ptrdiff_t>(i), list_.end()};
  }
  const Argument& at(size_t i) const {
    if (i >= list_.size()) refuse(i, "missing");
    return *list_[i];
  }

 private:
  [[noreturn]] static void refuse(size_t i, const char* wanted) {
    throw Refused(fmt::format("argument {} is not {}", i, wanted), "export the model again");
  }
  std::vector<const Argument*> list_;
};

HigherOrder with_grad_mode(const Arguments& arguments) {
  const auto inner = std::make_shared<Interpreter>(arguments.graph(1));
  const auto call = [enabled = arguments.flag(0), inner](Stack& stack) {
    const c10::AutoGradMode mode(enabled);
    stack = inner->call(std::move(stack));
  };
  return {call, arguments.from(2), {inner}};
}

// Of what Python passes, the device is the module's, and the cache of weights stays off: see levin::Autocast.
HigherOrder with_autocast(const Arguments& arguments) {
  const auto inner = std::make_shared<Interpreter>(arguments.graph(4));
  const auto* dtype = arguments.find<c10::ScalarType>(1);
  const auto call = [enabled = arguments.flag(2), dtype = dtype ? *dtype : at::kBFloat16, inner](Stack& stack) {
    const Autocast autocast(inner->placement().device.type(), dtype, enabled);
    stack = inner->call(std::move(stack));
  };
  return {call, arguments.from(5), {inner}};
}

// The backward may run when the model is gone.
void call_twice(const std::shared_ptr<Interpreter>& inner, Stack& stack) {
  std::vector<at::Tensor> inputs;
  for (const auto& value : stack)
    if (value.isTensor()) inputs.push_back(value.toTensor());
  Stack others = std::move(stack);  // sizes
  for (auto& value : others)
    if (value.isTensor()) value = at::Tensor();
  const auto compute = [inner, others = std::move(others)](const std::vector<at::Tensor>& tensors) {
    Stack given = others;
    size_t next = 0;
    for (auto& value : given)
      if (value.isTensor()) value = tensors[next++];
    std::vector<at::Tensor> outputs;
    for (const auto& output : inner->call(std::move(given))) outputs.push_back(output.toTensor());
    return outputs;
  };
  stack.clear();
  for (auto& output : detail::compute_twice(inputs, {compute, [] {}}, ActivationCheckpointing::units))
    stack.emplace_back(std::move(output));
}

// torch.utils.checkpoint. A part that changes its inputs in place, as a batch norm does, is computed once.
HigherOrder checkpointed(const Arguments& arguments) {
  const auto inner = std::make_shared<Interpreter>(arguments.graph(0));
  const bool once = !written_inputs(arguments.graph(0)).empty();
  const auto call = [once, inner](Stack& stack) {
    if (once || !c10::GradMode::is_enabled())
      stack = inner->call(std::move(stack));
    else
      call_twice(inner, stack);
  };
  return {call, arguments.from(1), {inner}};
}

HigherOrder conditional(const Arguments& arguments) {
  const auto yes = std::make_shared<Interpreter>(arguments.graph(1)), no = std::make_shared<Interpreter>(arguments.graph(2));
  const auto call = [yes, no](Stack& stack) {
    TORCH_CHECK(!stack.empty(), "cond has no condition");
    const bool holds = stack[0].isTensor() ? stack[0].toTensor().item<bool>() : stack[0].toBool();
    stack.erase(stack.begin());
    stack = (holds ? yes : no)->call(std::move(stack));
  };
  auto operands = arguments.from(3);
  operands.insert(operands.begin(), &arguments.at(0));
  return {call, operands, {yes, no}};
}

constexpr std::pair<std::string_view, HigherOrder (*)(const Arguments&)> known[] = {{"wrap_with_set_grad_enabled", with_grad_mode},
                                                                                    {"wrap_with_autocast", with_autocast},
                                                                                    {"tag_activation_checkpoint", checkpointed},
                                                                                    {"cond", conditional}};

}  // namespace

HigherOrder compile_higher_order(const Node& node) {
  const std::string name = node.target.substr(std::string_view("torch.ops.higher_order.").size());
  for (const auto& [target, compile] : known)
    if (name == target) return compile(Arguments(node));
  throw Refused(fmt::format("the higher-order operator {} is not supported", quote(name)),
                "write the loop or call with ordinary operators; cond, no_grad, autocast and checkpoint are supported");
}

}  // namespace levin::exported
