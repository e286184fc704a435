#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "levin/checkpoint/checkpoint_state.h"

namespace levin::detail {

/// Where everything of a state lies in its HDF5 file, and the bytes that HDF5 wrote of it: all but the data. So the file of a state can be
/// written without HDF5, and again and again, as long as names, dtypes, shapes and the rounded sizes of texts stay the same.
struct FileLayout {
  struct Extent {
    uint64_t offset = 0, bytes = 0;
  };

  std::vector<Extent> tensors, texts;  ///< in the state's order; bytes of texts are rounded up
  uint64_t file_bytes = 0;
  /// What is not zero of the bytes outside of data sets, by offset, and the hash of all of them, zeros included.
  std::vector<std::pair<uint64_t, std::string>> metadata;
  uint64_t metadata_hash = 0;
};

/// UsageError for names or shapes that cannot be held, naming the tensor.
void check_names_and_shapes(const std::vector<TensorEntry>& tensors, const std::vector<TextEntry>& texts);

/// Lets HDF5 lay out a file of what was checked, in memory. UsageError for dtypes that cannot be held. HDF5's lock is taken for each data
/// set anew. Tensors of `alignment` bytes and more begin at multiples of it.
FileLayout make_layout(const std::vector<TensorEntry>& tensors, const std::vector<TextEntry>& texts, uint64_t alignment);

/// Two states of equal keys have the same layout.
std::string layout_key(const std::vector<TensorEntry>& tensors, const std::vector<TextEntry>& texts);

/// The ranges [begin, end) of a file outside of these places (sorted by offset).
std::vector<std::pair<uint64_t, uint64_t>> gaps_between(const std::vector<FileLayout::Extent>& sorted, uint64_t file_bytes);

}  // namespace levin::detail
