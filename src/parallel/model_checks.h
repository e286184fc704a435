#pragma once
// Checks of a model's parameters. Errors name parameters, shapes and ranks.
#include <torch/nn/module.h>

#include <string>
#include <vector>

#include "levin/core/tensor.h"

namespace levin {
class Communicator;
struct NamedParameter;
}  // namespace levin

namespace levin::detail {

/// "net.weight" 1x4 float32
std::string name_and_shape(const NamedParameter& parameter);

/// Each once, under its first name: a module lists one that is registered at several places as often.
std::vector<NamedParameter> parameters_of(const torch::nn::Module& module);

/// UsageError for what the engine and checkpoints do not support, by name: complex parameters and buffers, names with a slash, and, where
/// the model is trained, embeddings with sparse gradients.
void check_supported(const torch::nn::Module& module, bool trained);

/// The parameters and buffers of the ranks must have the same names, shapes and dtypes; else a UsageError on all ranks names the first
/// that differs, on rank 0 and on the first rank that has another. Collective.
void check_same_model(const torch::nn::Module& module, Communicator& communicator);

/// The buffers of the ranks must have the same names, shapes and dtypes, too, when training has changed them; else a UsageError on all
/// ranks, as above. Collective.
void check_same_buffers(const std::vector<NamedParameter>& buffers, Communicator& communicator);

/// UsageError on all ranks that names the first parameter that some ranks froze and others train. `frozen` [parameters]: this rank's, of
/// ranks that differ. Collective.
[[noreturn]] void refuse_frozen(const std::vector<char>& frozen, const std::vector<NamedParameter>& parameters, Communicator& communicator);

/// The tensors, by shape and dtype, that collected gradients in a backward of `loss`, that are none of the parameters, and that the program
/// still holds after it: a layer that no module registers. Inputs that require a gradient die with the loss's graph.
std::vector<std::string> unregistered_leaves(const Tensor& loss, const std::vector<NamedParameter>& parameters);

/// UsageError when one of the parameters numbered `absent`, which had no gradient after a backward of `loss`, did not merely take no part:
/// another tensor is in its place. `module` may be null, if it was destroyed; an undefined loss is not examined.
void check_not_replaced(const std::vector<NamedParameter>& parameters, const std::vector<size_t>& absent, const torch::nn::Module* module,
                        const Tensor& loss);

}  // namespace levin::detail
