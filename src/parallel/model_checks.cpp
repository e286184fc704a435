#include "model_checks.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/nn/modules/embedding.h>
#include <xxhash.h>

#include <algorithm>
#include <unordered_set>

#include "../core/lines.h"
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

std::string describe_buffer(const std::string& name, const Tensor& buffer) {
  return fmt::format("buffer \"{}\" {}\n", name, shape_of(buffer));
}

// A line for each: `parameter "net.weight" 1x4 float32`.
std::string describe(const torch::nn::Module& module) {
  std::string lines;
  for (const auto& item : module.named_parameters())
    lines +=
        fmt::format("parameter \"{}\" {}{}\n", item.key(), shape_of(item.value()), item.value().requires_grad() ? "" : ", not trained");
  for (const auto& item : module.named_buffers()) lines += describe_buffer(item.key(), item.value());
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

// `mine`: a line for each parameter or buffer. Calls refuse(line of rank 0, another rank, its line) where they differ.
template <class Refuse>
void check_same_lines(const std::string& mine, Communicator& communicator, const Refuse& refuse) {
  const auto hashes = all_gather_value(communicator, XXH3_64bits(mine.data(), mine.size()));
  for (size_t rank = 1; rank < hashes.size(); rank++) {
    if (hashes[rank] == hashes[0]) continue;
    const auto first = detail::lines_of(broadcast_text(communicator, mine)),
               other = detail::lines_of(broadcast_text(communicator, mine, static_cast<int>(rank)));
    const auto difference =
        static_cast<size_t>(std::mismatch(first.begin(), first.end(), other.begin(), other.end()).first - first.begin());
    const auto line = [&](const std::vector<std::string>& lines) {
      return difference < lines.size() ? lines[difference] : fmt::format("nothing after {} others", lines.size());
    };
    refuse(line(first), rank, line(other));
  }
}

void check_supported(const char* kind, const std::string& name, const Tensor& tensor) {
  if (tensor.is_complex())
    throw UsageError("parallel", fmt::format("{} \"{}\" {} is complex, which is not supported", kind, name, shape_of(tensor)),
                     "register its real and imaginary parts (view_as_real), and use view_as_complex in the forward");
  if (name.find('/') != std::string::npos)
    throw UsageError("parallel", fmt::format("{} \"{}\" has a slash in its name, which checkpoints do not support", kind, name),
                     "register it under a name without a slash");
}

void check_dense(const std::string& name, const torch::nn::Module& part) {
  const auto* table = dynamic_cast<const torch::nn::EmbeddingImpl*>(&part);
  const auto* bag = dynamic_cast<const torch::nn::EmbeddingBagImpl*>(&part);
  const Tensor* weight = table && table->options.sparse() ? &table->weight : bag && bag->options.sparse() ? &bag->weight : nullptr;
  if (weight && weight->requires_grad())
    throw UsageError("parallel",
                     fmt::format("parameter \"{}{}weight\" is an embedding with sparse gradients, which are not supported", name,
                                 name.empty() ? "" : "."),
                     "make the embedding with sparse(false)");
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

void check_supported(const torch::nn::Module& module, bool trained) {
  for (const auto& item : module.named_parameters()) check_supported("parameter", item.key(), item.value());
  for (const auto& item : module.named_buffers()) check_supported("buffer", item.key(), item.value());
  if (!trained) return;
  check_dense("", module);
  for (const auto& item : module.named_modules("", /*include_self=*/false)) check_dense(item.key(), *item.value());
}

void check_same_model(const torch::nn::Module& module, Communicator& communicator) {
  if (communicator.size() == 1) return;
  check_same_lines(describe(module), communicator, [](const std::string& first, size_t rank, const std::string& other) {
    throw UsageError("parallel", fmt::format("the ranks built different models: rank 0 has {}, where rank {} has {}", first, rank, other),
                     "build the same model with the same names, shapes and dtypes on every rank");
  });
}

void check_same_buffers(const std::vector<NamedParameter>& buffers, Communicator& communicator) {
  std::string lines;
  for (const auto& [name, buffer] : buffers) lines += describe_buffer(name, buffer);
  check_same_lines(lines, communicator, [](const std::string& first, size_t rank, const std::string& other) {
    throw UsageError("parallel",
                     fmt::format("training left the ranks with different buffers: rank 0 has {}, where rank {} has {}", first, rank, other),
                     "define the same buffers with the same shapes and dtypes on every rank, whatever its data");
  });
}

void refuse_frozen(const std::vector<char>& frozen, const std::vector<NamedParameter>& parameters, Communicator& communicator) {
  const auto flags = all_gather_values(communicator, frozen);
  for (size_t i = frozen.size(); i < flags.size(); i++) {
    const auto parameter = i % frozen.size(), rank = i / frozen.size();
    if (const bool first = flags[parameter] != 0; first != (flags[i] != 0))
      throw UsageError("parallel",
                       fmt::format("parameter {} is frozen (requires_grad is false) on rank {}, and trained on rank {}",
                                   name_and_shape(parameters[parameter]), first ? 0 : rank, first ? rank : 0),
                       "freeze and unfreeze the same parameters before the same step on every rank");
  }
  throw UsageError("parallel", "the ranks froze different parameters", "freeze the same parameters on every rank");
}

std::vector<std::string> unregistered_leaves(const Tensor& loss, const std::vector<NamedParameter>& parameters) {
  constexpr size_t dying = 2;  // references of a leaf held nowhere else: the graph's and the list's
  std::vector<std::string> forms;
  for (const Tensor& leaf : strange_leaves(loss, parameters))
    if (leaf.use_count() > dying) forms.push_back(shape_of(leaf));
  return forms;
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
