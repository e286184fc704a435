#include "levin/core/shape_notes.h"

#include <algorithm>

#include "levin/core/fixed_text.h"

namespace levin {

void describe_shape(FixedText& text, c10::IntArrayRef sizes, at::ScalarType dtype) noexcept {
  for (size_t i = 0; i < sizes.size(); i++) (text << (i > 0 ? "x" : "")) << sizes[i];
  text << (sizes.empty() ? "scalar " : " ") << c10::getDtypeNames(dtype).first;  // names this short are not allocated
}

void ShapeNotes::add(const Tensor& tensor) noexcept {
  if (count_++ >= most) return;
  Note& note = notes_[count_ - 1];
  note.dtype = tensor.scalar_type();
  note.dims = static_cast<uint8_t>(std::min<int64_t>(tensor.dim(), most_dims));
  for (size_t i = 0; i < note.dims; i++) note.sizes[i] = tensor.sizes()[i];
}

void ShapeNotes::describe(FixedText& text) const noexcept {
  for (size_t i = 0; i < std::min(count_, most); i++) {
    if (i > 0) text << ", ";
    describe_shape(text, c10::IntArrayRef(notes_[i].sizes, notes_[i].dims), notes_[i].dtype);
  }
  if (count_ > most) text << ", …";
}

}  // namespace levin
