#include "hdf5_types.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <vector>

#include "levin/core/text.h"

namespace levin::detail {
namespace {

static_assert(std::endian::native == std::endian::little, "bytes are written as they are in memory");

constexpr std::array dtypes{at::ScalarType::Float, at::ScalarType::Double, at::ScalarType::BFloat16, at::ScalarType::Half,
                            at::ScalarType::Long,  at::ScalarType::Int,    at::ScalarType::Short,    at::ScalarType::Char,
                            at::ScalarType::Byte,  at::ScalarType::Bool,   at::ScalarType::UInt16,   at::ScalarType::UInt32,
                            at::ScalarType::UInt64};

Hdf5Handle copy_of(hid_t type) { return {H5Tcopy(type), H5Tclose}; }

Hdf5Handle float_16(size_t exponent_bits, size_t mantissa_bits, size_t bias) {
  auto type = copy_of(H5T_IEEE_F32LE);
  // The size comes last: HDF5 refuses one that the fields would not fit into.
  H5Tset_fields(type, 15, mantissa_bits, exponent_bits, 0, mantissa_bits);
  H5Tset_ebias(type, bias);
  H5Tset_precision(type, 16);
  H5Tset_size(type, 2);
  return type;
}

Hdf5Handle boolean() {
  Hdf5Handle type(H5Tenum_create(H5T_STD_I8LE), H5Tclose);
  for (const auto value : std::array<signed char, 2>{0, 1}) H5Tenum_insert(type, value ? "TRUE" : "FALSE", &value);
  return type;
}

std::vector<std::string> member_names(hid_t type) {
  constexpr int most = 8;  // in a message
  std::vector<std::string> names;
  const int count = H5Tget_nmembers(type);
  for (int i = 0; i < count && i < most; i++) {
    char* name = H5Tget_member_name(type, static_cast<unsigned>(i));
    names.push_back(name ? sanitized(name) : "?");
    H5free_memory(name);
  }
  if (count > most) names.emplace_back("...");
  return names;
}

}  // namespace

std::optional<Hdf5Handle> hdf5_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::ScalarType::Float: return copy_of(H5T_IEEE_F32LE);
    case at::ScalarType::Double: return copy_of(H5T_IEEE_F64LE);
    case at::ScalarType::BFloat16: return float_16(8, 7, 127);
    case at::ScalarType::Half: return float_16(5, 10, 15);
    case at::ScalarType::Long: return copy_of(H5T_STD_I64LE);
    case at::ScalarType::Int: return copy_of(H5T_STD_I32LE);
    case at::ScalarType::Short: return copy_of(H5T_STD_I16LE);
    case at::ScalarType::Char: return copy_of(H5T_STD_I8LE);
    case at::ScalarType::Byte: return copy_of(H5T_STD_U8LE);
    case at::ScalarType::UInt16: return copy_of(H5T_STD_U16LE);
    case at::ScalarType::UInt32: return copy_of(H5T_STD_U32LE);
    case at::ScalarType::UInt64: return copy_of(H5T_STD_U64LE);
    case at::ScalarType::Bool: return boolean();
    default: return std::nullopt;
  }
}

std::optional<at::ScalarType> dtype_of(hid_t type) {
  for (const auto dtype : dtypes)
    if (H5Tequal(*hdf5_type(dtype), type) > 0) return dtype;
  return std::nullopt;
}

UnsupportedType unsupported_type(hid_t type) {
  const auto kind = H5Tget_class(type);
  if (kind == H5T_INTEGER || kind == H5T_FLOAT) {
    const auto bits = 8 * H5Tget_size(type);
    const char letter = kind == H5T_FLOAT ? 'f' : H5Tget_sign(type) == H5T_SGN_NONE ? 'u' : 'i';
    const auto name = fmt::format("{}{}", letter == 'f' ? "float" : letter == 'u' ? "uint" : "int", bits);
    if (H5Tget_order(type) == H5T_ORDER_BE && bits <= 64)
      return {"big-endian " + name, fmt::format("write it as little-endian: values.astype(\"<{}{}\")", letter, bits / 8)};
    return {fmt::format("{} of an uncommon layout", name), "write it as float32, float64 or an integer type of 8 to 64 bits"};
  }
  if (kind == H5T_COMPOUND) {
    const auto names = member_names(type);
    if (names == std::vector<std::string>{"r", "i"})
      return {"complex numbers", "write real and imaginary parts: numpy.stack([x.real, x.imag], -1)"};
    return {fmt::format("compound values ({})", joined(names)), "write each field as a separate data set"};
  }
  if (kind == H5T_ENUM)
    return {fmt::format("an enumeration ({})", joined(member_names(type))), "write its values as integers: values.astype(\"int64\")"};
  if (kind == H5T_STRING) return {"strings", "write them as integers: token ids, class numbers, or uint8 bytes padded to one length"};
  if (kind == H5T_VLEN) return {"rows of variable length", "pad them to one length, and write the lengths as a second data set"};
  if (kind == H5T_REFERENCE) return {"references to objects", "write the values that they refer to"};
  if (kind == H5T_ARRAY) return {"arrays as elements", "write their sizes as further dimensions of the data set"};
  return {"values of another kind (opaque, bit fields or times)", "write them as integers or floats"};
}

Hdf5Handle hdf5_text_type(size_t bytes) {
  auto type = copy_of(H5T_C_S1);
  H5Tset_size(type, bytes);
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  H5Tset_cset(type, H5T_CSET_UTF8);
  return type;
}

}  // namespace levin::detail
