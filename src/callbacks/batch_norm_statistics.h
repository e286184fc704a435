#pragma once

namespace levin {
class Module;
class Trainer;

namespace detail {

/// Whether the module normalizes batches with running statistics.
bool has_batch_norm(const Module& module);

/// Computes running means and variances anew, as torch.optim.swa_utils.update_bn: the mean over the batches of one pass over the training
/// data, here of all ranks, weighted by samples. In a hook of a training, outside of its epochs. Collective.
void recompute_batch_norm(Trainer& trainer, Module& module);

}  // namespace detail
}  // namespace levin
