#pragma once
#include <cstddef>
#include <cstdint>

#include "levin/core/tensor.h"

namespace levin {

class FixedText;

/// "64x784 float32".
void describe_shape(FixedText& text, c10::IntArrayRef sizes, at::ScalarType dtype) noexcept;

/// Shapes and dtypes of the first tensors of a call, kept without allocation and without the tensors.
class ShapeNotes {
 public:
  ShapeNotes() noexcept {}  // the places are left as they are: writing zeros would cost more than the notes
  void add(const Tensor& tensor) noexcept;
  bool empty() const noexcept { return count_ == 0; }
  /// "64x784 float32, 64 int64"; an ellipsis where there were more.
  void describe(FixedText& text) const noexcept;

 private:
  static constexpr size_t most = 4, most_dims = 6;
  struct Note {
    int64_t sizes[most_dims];
    uint8_t dims;
    at::ScalarType dtype;
  };
  Note notes_[most];
  size_t count_ = 0;
};

}  // namespace levin
