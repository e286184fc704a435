#include "levin/data/npy_array.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "../core/file.h"
#include "levin/core/text.h"
#include "npy_header.h"

namespace levin {
namespace {

constexpr auto not_npy = "give a file that numpy.save wrote";
constexpr auto save_npy_again = "save it again: numpy.save(FILE, numpy.ascontiguousarray(ARRAY))";

struct NpyType {
  std::string_view name;  // without the byte order
  at::ScalarType dtype;
};
constexpr std::array npy_types{NpyType{"f2", at::kHalf},
                               NpyType{"f4", at::kFloat},
                               NpyType{"f8", at::kDouble},
                               NpyType{"i1", at::kChar},
                               NpyType{"i2", at::kShort},
                               NpyType{"i4", at::kInt},
                               NpyType{"i8", at::kLong},
                               NpyType{"u1", at::kByte},
                               NpyType{"u2", at::ScalarType::UInt16},
                               NpyType{"u4", at::ScalarType::UInt32},
                               NpyType{"u8", at::ScalarType::UInt64},
                               NpyType{"b1", at::kBool}};

}  // namespace

NpyArray::NpyArray(const std::filesystem::path& path) : FileArray(path.string(), path.string()) {
  const uint64_t size = file().size();
  std::array<unsigned char, 12> first{};
  const size_t known = std::min<uint64_t>(size, first.size());
  file().read_at(first.data(), known, 0);
  const std::string_view magic(reinterpret_cast<const char*>(first.data()), known);
  if (magic.starts_with("PK")) refuse("is a zip archive, as numpy.savez writes", "save each array into a file: numpy.save(FILE, ARRAY)");
  if (!magic.starts_with("\x93NUMPY")) refuse("is not a .npy file", not_npy);
  if (known < 10) refuse(fmt::format("is truncated: it has {} bytes", size), "copy the file again");
  const int major = first[6], minor = first[7];
  if (major < 1 || major > 3 || minor != 0) refuse(fmt::format("has the unknown .npy format {}.{}", major, minor), save_npy_again);
  const uint64_t begin = major == 1 ? 10 : 12;
  uint64_t length = first[8] | static_cast<uint64_t>(first[9]) << 8;
  if (major > 1) length |= static_cast<uint64_t>(first[10]) << 16 | static_cast<uint64_t>(first[11]) << 24;
  if (size < begin || length > size - begin)
    refuse(fmt::format("is truncated: it has {} bytes, and a header of {}", size, length), "copy the file again");
  constexpr uint64_t most_bytes = 1 << 20;
  if (length > most_bytes) refuse(fmt::format("has a header of {} bytes", length), save_npy_again);
  std::string text(length, '\0');
  file().read_at(text.data(), length, begin);
  auto header =
      detail::NpyHeader::from_text(text, [this](const std::string& why) { refuse("has a header with " + sanitized(why), save_npy_again); });

  const std::string_view descr = header.descr;
  const auto* type = std::find_if(npy_types.begin(), npy_types.end(),
                                  [&](const auto& each) { return descr.substr(std::min<size_t>(1, descr.size())) == each.name; });
  if (descr.starts_with('>') && type != npy_types.end() && !descr.ends_with('1'))
    refuse(fmt::format("is big-endian ({})", quote(header.descr)), fmt::format("save it as ARRAY.astype(\"<{}\")", type->name));
  if (type == npy_types.end() || std::string_view("<|=").find(descr.front()) == std::string_view::npos)
    refuse(fmt::format("has the dtype {}", quote(header.descr)), "save it as numbers, for example ARRAY.astype(\"float32\")");
  if (header.fortran_order) refuse("is in Fortran order", save_npy_again);
  uint64_t bytes = c10::elementSize(type->dtype);
  for (const int64_t length_of_dim : header.shape)
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(length_of_dim), &bytes))
      refuse(fmt::format("has the shape [{}], which overflows", fmt::join(header.shape, ", ")), save_npy_again);
  if (bytes != size - begin - length)
    refuse(fmt::format("has {} bytes of values, and its shape [{}] of {} needs {}", size - begin - length, fmt::join(header.shape, ", "),
                       c10::toString(type->dtype), bytes),
           bytes > size ? "copy the file again" : save_npy_again);
  locate(type->dtype, std::move(header.shape), begin + length);
}

}  // namespace levin
