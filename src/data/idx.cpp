#include "levin/data/idx.h"

#include <ATen/ops/empty.h>
#include <c10/util/StringUtil.h>

#include <array>
#include <bit>
#include <optional>
#include <vector>

#include "byte_source.h"
#include "levin/core/error.h"

namespace levin {
namespace {

std::optional<at::ScalarType> dtype_of(std::byte code) {
  switch (std::to_integer<int>(code)) {
    case 0x08: return at::kByte;
    case 0x09: return at::kChar;
    case 0x0B: return at::kShort;
    case 0x0C: return at::kInt;
    case 0x0D: return at::kFloat;
    case 0x0E: return at::kDouble;
    default: return {};
  }
}

int64_t big_endian(std::span<const std::byte, 4> bytes) {
  int64_t value = 0;
  for (const auto byte : bytes) value = value << 8 | std::to_integer<int64_t>(byte);
  return value;
}

void swap_bytes(std::span<std::byte> values, size_t value_bytes) {
  if (value_bytes == 1 || std::endian::native == std::endian::big) return;
  for (size_t i = 0; i < values.size(); i += value_bytes)
    for (size_t low = i, high = i + value_bytes - 1; low < high; ++low, --high) std::swap(values[low], values[high]);
}

}  // namespace

Tensor read_idx(const std::filesystem::path& path) {
  const auto source = detail::ByteSource::open(path);
  const auto fail = [&](const std::string& message) {
    return DataError(fmt::format("{}: {}", path.string(), message), "give a complete IDX file, plain or .gz");
  };

  std::array<std::byte, 4> magic{};
  if (const auto got = source->read(magic); got < magic.size())
    throw fail(fmt::format("{} bytes, fewer than the 4 of an IDX magic number", got));
  const auto dtype = dtype_of(magic[2]);
  const auto dims = std::to_integer<size_t>(magic[3]);
  if (magic[0] != std::byte{0} || magic[1] != std::byte{0} || !dtype || dims == 0 || dims > 8)
    throw fail(fmt::format("magic number {:#010x} is not IDX (0x00, 0x00, type 0x08-0x0e, 1 to 8 dimensions)", big_endian(magic)));

  std::vector<int64_t> shape;
  int64_t bytes = static_cast<int64_t>(c10::elementSize(*dtype));
  bool overflow = false;
  for (size_t i = 0; i < dims; ++i) {
    std::array<std::byte, 4> length{};
    if (source->read(length) < length.size()) throw fail(fmt::format("is truncated in its header of {} dimensions", dims));
    shape.push_back(big_endian(length));
    if (shape.back() == 0) throw fail(fmt::format("dimension {} of {} has length 0", i + 1, dims));
    overflow = overflow || __builtin_mul_overflow(bytes, shape.back(), &bytes);
  }
  const auto header_bytes = magic.size() * (1 + dims);
  if (overflow || static_cast<uint64_t>(bytes) + header_bytes > source->most_bytes())
    throw fail(fmt::format("the header announces {} values of {} bytes ({}), but at most {} bytes follow it",
                           c10::str(at::IntArrayRef(shape)), c10::elementSize(*dtype),
                           overflow ? "more than 64 bits count" : fmt::format("{} bytes", bytes),
                           source->most_bytes() - std::min<uint64_t>(source->most_bytes(), header_bytes)));

  auto tensor = at::empty(shape, at::TensorOptions().dtype(*dtype));
  const std::span values(static_cast<std::byte*>(tensor.mutable_data_ptr()), static_cast<size_t>(bytes));
  if (const auto got = source->read(values); got < values.size())
    throw fail(fmt::format("is truncated: {} of {} bytes of values, shape {}", got, bytes, c10::str(at::IntArrayRef(shape))));
  if (std::array<std::byte, 1> more{}; source->read(more) != 0)
    throw fail(fmt::format("has further bytes after its {} bytes of values, shape {}", bytes, c10::str(at::IntArrayRef(shape))));
  swap_bytes(values, c10::elementSize(*dtype));
  return tensor;
}

}  // namespace levin
