#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "levin/checkpoint/checkpoint_state.h"

namespace levin::detail {

/// The layout of a state's HDF5 file: the offsets of all data sets, and all bytes outside of them. With it, a file can be written without
/// HDF5. It stays valid for later saves as long as names, dtypes, shapes and the rounded sizes of texts stay the same.
struct FileLayout {
  struct Extent {
    uint64_t offset = 0, bytes = 0;
  };

  std::vector<Extent> tensors, texts;  ///< in the order of the state; sizes of texts are rounded up
  uint64_t file_bytes = 0;
  /// The bytes outside of data sets, by offset, without chunks of zeros; the hash covers the zeros, too.
  std::vector<std::pair<uint64_t, std::string>> metadata;
  uint64_t metadata_hash = 0;
};

/// UsageError, with the tensor's name, for an invalid name or shape.
void check_names_and_shapes(const std::vector<TensorEntry>& tensors, const std::vector<TextEntry>& texts);

/// Lays out a file in memory through HDF5; call check_names_and_shapes first. Tensors of at least `alignment` bytes begin at multiples of
/// it. UsageError for unsupported dtypes. Takes HDF5's lock once per data set, so other threads' use of HDF5 interleaves.
FileLayout make_layout(const std::vector<TensorEntry>& tensors, const std::vector<TextEntry>& texts, uint64_t alignment);

/// States with equal keys have the same layout.
std::string layout_key(const std::vector<TensorEntry>& tensors, const std::vector<TextEntry>& texts);

/// The ranges [begin, end) of a file outside of these extents, which are sorted by offset.
std::vector<std::pair<uint64_t, uint64_t>> gaps_between(const std::vector<FileLayout::Extent>& sorted, uint64_t file_bytes);

}  // namespace levin::detail
