#pragma once

namespace levin {
class Module;
class Trainer;

namespace detail {

/// Whether the module normalizes batches with running statistics. An exported model may.
bool has_batch_norm(const Module& module);

/// Recomputes running means and variances, as torch.optim.swa_utils.update_bn: the mean over the batches of one pass over the training
/// data, here of all ranks. A batch counts by its samples; update_bn counts each batch once, a smaller last one, too. With sync_batchnorm a
/// batch is that of all ranks. In a hook of a training, outside of its epochs. Collective.
void recompute_batch_norm(Trainer& trainer, Module& module);

}  // namespace detail
}  // namespace levin
