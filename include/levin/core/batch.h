#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "levin/core/tensor.h"

namespace levin {

/// Named tensors whose first dimension is the sample: `batch["image"]` is [size, ...].
class Batch {
 public:
  Batch() = default;
  Batch(std::initializer_list<std::pair<std::string, Tensor>> tensors);

  /// The tensor of this name; UsageError, listing the batch's names, for an unknown name.
  const Tensor& operator[](std::string_view name) const;
  bool contains(std::string_view name) const noexcept;
  /// Adds or replaces a tensor.
  void set(std::string_view name, Tensor tensor);
  const std::vector<std::pair<std::string, Tensor>>& tensors() const noexcept { return tensors_; }

  /// Number of samples: the first tensor's first dimension. A padding batch has samples, too, but weight 0.
  int64_t size() const;
  /// The samples' indices in the data set, in the order of the rows; empty for a padding batch.
  const std::vector<int64_t>& indices() const noexcept { return indices_; }
  void set_indices(std::vector<int64_t> indices) { indices_ = std::move(indices); }
  /// The same, to be written in place.
  std::vector<int64_t>& mutable_indices() noexcept { return indices_; }
  /// The batch's weight in a mean: its number of samples unless set, 0 for a padding batch.
  double weight() const { return padding_ ? 0 : weight_ ? *weight_ : static_cast<double>(size()); }
  void set_weight(double weight) noexcept { weight_ = weight; }
  /// A rank without samples runs a padding batch, so that all ranks make the same number of forward calls; metrics and writers ignore it.
  bool padding() const noexcept { return padding_; }
  void set_padding(bool padding) noexcept { padding_ = padding; }
  /// Which of several evaluation loaders it is from.
  int64_t dataloader_idx() const noexcept { return dataloader_idx_; }
  void set_dataloader_idx(int64_t dataloader_idx) noexcept { dataloader_idx_ = dataloader_idx; }
  /// Forgets indices, weight and the padding mark. The tensors stay, so that a loader can fill their memory again.
  void clear_marks() noexcept {
    indices_.clear();
    weight_.reset();
    padding_ = false;
  }

 private:
  std::vector<std::pair<std::string, Tensor>> tensors_;
  std::vector<int64_t> indices_;
  std::optional<double> weight_;
  bool padding_ = false;
  int64_t dataloader_idx_ = 0;
};

}  // namespace levin
