#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "levin/core/tensor.h"

namespace torch::nn {
class Module;
}

namespace levin {

class Communicator;

/// Batch normalization with the statistics of all ranks, of any model: LibTorch's BatchNorm modules, its function, and exported models.
/// Each value counts once, whatever the sizes of the ranks' batches; padding batches count nothing. Costs one all-reduce in the forward of
/// a layer and one in its backward. A backward in a Scope starts no reduction of gradients ahead of the step's end, whatever expect_step
/// announced; where gradients are sharded, which are reduced in every backward, the losses of all ranks depend on the same parameters.
class SyncBatchNorm {
 public:
  /// `ranks` takes tensors on the model's device, and must outlive this and every graph that was made in a Scope.
  explicit SyncBatchNorm(Communicator& ranks);
  Communicator& ranks() const noexcept { return ranks_; }

  /// A micro-batch, forward and backward, on this thread and on all ranks. Construct it before a BufferGuard: its end gives the new
  /// statistics to a padding batch's rank, too.
  class Scope {
   public:
    /// `sync`: null: nothing is done.
    Scope(SyncBatchNorm* sync, torch::nn::Module& module, bool padding) noexcept;
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    /// Whether this thread is in one.
    static bool is_open() noexcept;
    SyncBatchNorm& sync() const noexcept { return *sync_; }
    bool padding() const noexcept { return padding_; }
    /// Notes the new value of a running statistic, which this scope's end writes.
    void set_at_end(const Tensor& running, Tensor value) { pending_.emplace_back(running, std::move(value)); }
    /// The value that a running statistic has by then.
    Tensor current(const Tensor& running) const;

   private:
    SyncBatchNorm* sync_;
    torch::nn::Module& module_;
    bool padding_;
    int exceptions_;
    Scope* outer_;
    std::vector<std::pair<Tensor, Tensor>> pending_;
  };

 private:
  Communicator& ranks_;
};

}  // namespace levin
