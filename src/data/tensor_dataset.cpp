#include "levin/data/tensor_dataset.h"

#include <c10/util/SmallVector.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "levin/core/error.h"

namespace levin {
namespace {

// Rows of a fixed small size: a load and a store each, where memcpy of an unknown size is a call.
template <class Word>
void gather_words(const std::byte* rows, std::span<const int64_t> indices, std::byte* out) {
  for (const auto index : indices) {
    std::memcpy(out, rows + static_cast<size_t>(index) * sizeof(Word), sizeof(Word));
    out += sizeof(Word);
  }
}

// Rows lie far apart, so their first touch waits for memory: ask for the start of a row some rows before it is its turn. (Half the
// time on rows of 784 bytes; the processor finds the rest of a long row by itself.)
void prefetch_ahead(const std::byte* rows, size_t row_bytes, std::span<const int64_t> indices, size_t at) {
  constexpr size_t rows_ahead = 4, most_bytes = 1024, line_bytes = 64;
  if (at + rows_ahead >= indices.size()) return;
  const std::byte* row = rows + static_cast<size_t>(indices[at + rows_ahead]) * row_bytes;
  for (size_t byte = 0; byte < std::min(row_bytes, most_bytes); byte += line_bytes) __builtin_prefetch(row + byte);
}

void gather_rows(const std::byte* rows, size_t row_bytes, std::span<const int64_t> indices, std::byte* out) {
  switch (row_bytes) {
    case 1: return gather_words<uint8_t>(rows, indices, out);
    case 2: return gather_words<uint16_t>(rows, indices, out);
    case 4: return gather_words<uint32_t>(rows, indices, out);
    case 8: return gather_words<uint64_t>(rows, indices, out);
    default: break;
  }
  for (size_t i = 0; i < indices.size(); ++i) {
    prefetch_ahead(rows, row_bytes, indices, i);
    std::memcpy(out, rows + static_cast<size_t>(indices[i]) * row_bytes, row_bytes);
    out += row_bytes;
  }
}

void gather_scaled(const uint8_t* rows, size_t row_bytes, std::span<const int64_t> indices, float scale, float shift, float* out) {
  for (size_t i = 0; i < indices.size(); ++i) {
    prefetch_ahead(reinterpret_cast<const std::byte*>(rows), row_bytes, indices, i);
    const uint8_t* row = rows + static_cast<size_t>(indices[i]) * row_bytes;
    for (size_t byte = 0; byte < row_bytes; ++byte) out[byte] = static_cast<float>(row[byte]) * scale + shift;
    out += row_bytes;
  }
}

}  // namespace

TensorDataset::TensorDataset(std::initializer_list<std::pair<std::string, Tensor>> tensors) {
  for (const auto& [name, rows] : tensors) add(name, rows);
}

TensorDataset::TensorDataset(const std::vector<std::pair<std::string, Tensor>>& tensors) {
  for (const auto& [name, rows] : tensors) add(name, rows);
}

void TensorDataset::add(const std::string& name, const Tensor& rows) {
  if (!rows.defined() || rows.dim() == 0)
    throw UsageError("data", fmt::format("tensor \"{}\" of the data set is a scalar; its first dimension must be the sample", name));
  if (!rows.device().is_cpu())
    throw UsageError("data", fmt::format("tensor \"{}\" of the data set is on {}", name, rows.device().str()), "give it on the CPU");
  if (!fields_.empty() && rows.size(0) != size_)
    throw UsageError("data",
                     fmt::format("tensor \"{}\" has {} samples, tensor \"{}\" has {}", name, rows.size(0), fields_.front().name, size_));
  for (const auto& field : fields_)
    if (field.name == name) throw UsageError("data", fmt::format("two tensors of the data set are named \"{}\"", name));
  size_ = rows.size(0);
  size_t row_bytes = rows.element_size();
  for (const auto length : rows.sizes().slice(1)) row_bytes *= static_cast<size_t>(length);
  fields_.push_back({name, rows.detach().contiguous(), row_bytes, {}});
}

TensorDataset& TensorDataset::scale_bytes(std::string_view name, float scale, float shift) {
  for (auto& field : fields_) {
    if (field.name != name) continue;
    if (field.rows.scalar_type() != at::kByte)
      throw UsageError("data", fmt::format("scale_bytes: \"{}\" is {}, not uint8", name, c10::toString(field.rows.scalar_type())));
    field.affine = Affine{scale, shift};
    return *this;
  }
  throw UsageError("data", fmt::format("scale_bytes: the data set has no tensor \"{}\"", name));
}

void TensorDataset::get(std::span<const int64_t> indices, Batch& into) const {
  for (const auto index : indices)
    if (index < 0 || index >= size_) throw UsageError("data", fmt::format("sample {} is out of range: the data set has {}", index, size_));
  for (const auto& field : fields_) {
    c10::SmallVector<int64_t, 6> shape(field.rows.sizes().begin(), field.rows.sizes().end());
    shape[0] = static_cast<int64_t>(indices.size());
    const Tensor& out = reuse_tensor(into, field.name, shape, field.affine ? at::kFloat : field.rows.scalar_type());
    if (field.affine)
      gather_scaled(field.rows.const_data_ptr<uint8_t>(), field.row_bytes, indices, field.affine->scale, field.affine->shift,
                    out.mutable_data_ptr<float>());
    else
      gather_rows(static_cast<const std::byte*>(field.rows.const_data_ptr()), field.row_bytes, indices,
                  static_cast<std::byte*>(out.mutable_data_ptr()));
  }
}

}  // namespace levin
