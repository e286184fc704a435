#pragma once
#include <c10/core/ScalarType.h>

#include <optional>
#include <string>

#include "hdf5_handle.h"

namespace levin::detail {

/// The type in the file of a tensor's elements: little-endian; bf16 and fp16 are floats of 16 bits, and bool is the enumeration (FALSE,
/// TRUE) of 8 bits that h5py reads as bool. Nothing for a dtype that checkpoints do not hold. Call it inside a Hdf5Section.
std::optional<Hdf5Handle> hdf5_type(c10::ScalarType dtype);
/// The dtype whose type this is, exactly.
std::optional<c10::ScalarType> dtype_of(hid_t type);
/// A type without such a dtype, in words: "compound values (a, b)", and how to store what it holds.
struct UnsupportedType {
  std::string kind, remedy;
};
UnsupportedType unsupported_type(hid_t type);
/// A text of `bytes` bytes (at least 1), padded with zeros.
Hdf5Handle hdf5_text_type(size_t bytes);

}  // namespace levin::detail
