#pragma once
#include <filesystem>

#include "levin/core/tensor.h"

namespace levin {

/// Reads an IDX file (the format of MNIST: a magic number with type and number of dimensions, big-endian lengths, values), plain or
/// compressed by gzip, as a tensor of the file's shape: uint8, int8, int16, int32, float32 or float64. Nothing is trusted: DataError,
/// with path and values, for another magic, lengths that do not fit the file's size, a file that is truncated or has bytes after its
/// values, and damaged compression; IoError for a file that cannot be read. Memory is asked for only when the file can fill it.
Tensor read_idx(const std::filesystem::path& path);

}  // namespace levin
