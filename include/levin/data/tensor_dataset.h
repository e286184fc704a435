#pragma once
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "levin/data/dataset.h"

namespace levin {

/// Named CPU tensors in memory whose first dimension is the sample: a batch has the same names, and a row for each index.
class TensorDataset : public Dataset {
 public:
  /// All tensors have the same first dimension; UsageError otherwise. They are kept, not copied, where they are contiguous.
  TensorDataset(std::initializer_list<std::pair<std::string, Tensor>> tensors);
  explicit TensorDataset(const std::vector<std::pair<std::string, Tensor>>& tensors);

  /// Batches hold the uint8 tensor `name` as float32: stored * scale + shift. Converted while the rows are gathered, so the data stay a
  /// byte a value in memory.
  TensorDataset& scale_bytes(std::string_view name, float scale, float shift);

  int64_t size() const override { return size_; }
  void get(std::span<const int64_t> indices, Batch& into) const override;

 private:
  struct Affine {
    float scale, shift;
  };
  struct Field {
    std::string name;
    Tensor rows;
    size_t row_bytes;
    std::optional<Affine> affine;
  };
  void add(const std::string& name, const Tensor& rows);

  std::vector<Field> fields_;
  int64_t size_ = 0;
};

}  // namespace levin
