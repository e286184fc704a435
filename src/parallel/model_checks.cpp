#include "model_checks.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/parallel/named_parameter.h"

namespace levin::detail {
namespace {

std::string shape_of(const Tensor& tensor) {
  return fmt::format("{} {}", tensor.dim() == 0 ? "scalar" : fmt::to_string(fmt::join(tensor.sizes().begin(), tensor.sizes().end(), "x")),
                     c10::getDtypeNames(tensor.scalar_type()).first);
}

// A line for each: `parameter "net.weight" 1x4 float32`.
std::string describe(const torch::nn::Module& module) {
  std::string lines;
  for (const auto& item : module.named_parameters())
    lines +=
        fmt::format("parameter \"{}\" {}{}\n", item.key(), shape_of(item.value()), item.value().requires_grad() ? "" : ", not trained");
  for (const auto& item : module.named_buffers()) lines += fmt::format("buffer \"{}\" {}\n", item.key(), shape_of(item.value()));
  return lines;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size(); begin = text.find('\n', begin) + 1)
    lines.push_back(text.substr(begin, text.find('\n', begin) - begin));
  return lines;
}

// The leaves of the loss's graph in which gradients were accumulated, but for the known parameters.
std::vector<Tensor> strange_leaves(const Tensor& loss, const std::vector<NamedParameter>& parameters) {
  std::unordered_set<const void*> known, seen;
  for (const auto& parameter : parameters) known.insert(parameter.tensor.unsafeGetTensorImpl());
  std::vector<Tensor> found;
  std::vector<torch::autograd::Node*> open{loss.grad_fn().get()};
  while (!open.empty()) {
    auto* node = open.back();
    open.pop_back();
    if (!node || !seen.insert(node).second) continue;
    if (const auto* leaf = dynamic_cast<torch::autograd::AccumulateGrad*>(node); leaf && !known.count(leaf->variable.unsafeGetTensorImpl()))
      found.push_back(leaf->variable);
    for (const auto& edge : node->next_edges()) open.push_back(edge.function.get());
  }
  return found;
}

}  // namespace

std::string name_and_shape(const NamedParameter& parameter) { return fmt::format("\"{}\" {}", parameter.name, shape_of(parameter.tensor)); }

std::vector<NamedParameter> parameters_of(const torch::nn::Module& module) {
  std::vector<NamedParameter> parameters;
  std::unordered_set<const void*> seen;
  for (const auto& item : module.named_parameters())
    if (seen.insert(item.value().unsafeGetTensorImpl()).second) parameters.push_back({item.key(), item.value()});
  return parameters;
}

void check_same_model(const torch::nn::Module& module, Communicator& communicator) {
  if (communicator.size() == 1) return;
  const std::string mine = describe(module);
  const auto hashes = all_gather_value(communicator, XXH3_64bits(mine.data(), mine.size()));
  for (size_t rank = 1; rank < hashes.size(); rank++) {
    if (hashes[rank] == hashes[0]) continue;
    const auto first = lines_of(broadcast_text(communicator, mine)), other = lines_of(broadcast_text(communicator, mine, static_cast<int>(rank)));
    const auto difference =
        static_cast<size_t>(std::mismatch(first.begin(), first.end(), other.begin(), other.end()).first - first.begin());
    const auto line = [&](const std::vector<std::string>& lines) {
      return difference < lines.size() ? lines[difference] : fmt::format("nothing after {} others", lines.size());
    };
    throw UsageError("parallel",
                     fmt::format("the ranks built different models: rank 0 has {}, where rank {} has {}", line(first), rank, line(other)),
                     "build the same model with the same names, shapes and dtypes on every rank");
  }
}

void check_not_replaced(const std::vector<NamedParameter>& parameters, const std::vector<size_t>& absent, const torch::nn::Module* module,
                        const Tensor& loss) {
  constexpr const char* remedy = "write to it in place inside write_parameters instead";
  const auto registered = module ? module->named_parameters() : torch::OrderedDict<std::string, Tensor>();
  const auto strangers = loss.defined() ? strange_leaves(loss, parameters) : std::vector<Tensor>();
  for (size_t i : absent) {
    const auto& [name, tensor] = parameters[i];
    const Tensor* now = registered.find(name);
    if (module && !(now && now->is_same(tensor)))
      throw UsageError("parallel",
                       fmt::format("parameter {} was {} after the training began", name_and_shape(parameters[i]),
                                   now ? "replaced by another, " + shape_of(*now) + "," : "removed"),
                       remedy);
    for (const Tensor& stranger : strangers)
      if (stranger.sizes() == tensor.sizes())
        throw UsageError("parallel",
                         fmt::format("parameter {} takes no part in the loss, but an unknown tensor of its shape does: it was "
                                     "replaced by an assignment",
                                     name_and_shape(parameters[i])),
                         remedy);
  }
}

}  // namespace levin::detail
