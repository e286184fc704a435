#pragma once
#include <cstdint>
#include <vector>

#include "levin/core/tensor.h"

namespace levin {

/// Sums the statistics of the batches that batch normalizations in training mode see on this thread: LibTorch's BatchNorm modules, its
/// function, and exported models. Meanwhile running means and variances keep their values. In a SyncBatchNorm::Scope the statistics are
/// those of all ranks.
class BatchNormRecorder {
 public:
  /// Of the calls with one running mean. Sums in fp64: divided by `weight` they are means.
  struct Sums {
    Tensor running_mean = {};
    Tensor mean = {}, variance = {};  ///< [channels], times the weights; variances are unbiased
    double weight = 0;
    int64_t calls = 0;  ///< those of weight 0, too
  };

  /// One per thread at a time. `weight` is 0 until set.
  BatchNormRecorder();
  ~BatchNormRecorder();
  BatchNormRecorder(const BatchNormRecorder&) = delete;
  BatchNormRecorder& operator=(const BatchNormRecorder&) = delete;

  /// Weight of the calls that follow; 0 for a padding batch.
  void set_weight(double weight) noexcept { weight_ = weight; }
  /// Null: no call has had this running mean.
  const Sums* find(const Tensor& running_mean) const;

  /// This thread's; null: none. For the kernel.
  static BatchNormRecorder* current() noexcept;
  void add(const Tensor& running_mean, const Tensor& mean, const Tensor& variance);

 private:
  double weight_ = 0;
  std::vector<Sums> sums_;
};

}  // namespace levin
