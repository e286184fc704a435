#pragma once
#include <optional>
#include <string>
#include <vector>

#include "../core/file.h"
#include "levin/checkpoint/checkpoint_state.h"

namespace levin::detail {

/// A data set in a file.
struct StoredDataset {
  TensorEntry entry;  ///< for a text: its name, and its bytes as uint8
  bool is_text = false;
  uint64_t offset = 0, bytes = 0;
};

/// Lists all data sets of an untrusted HDF5 file, by offset, without reading data. Accepts only a tree of groups with hard links,
/// contiguous data sets inside of the file, and the types of checkpoints. DataError, with the file and the data set, for anything else,
/// such as soft and external links, external storage, virtual and chunked data sets, filters and references.
std::vector<StoredDataset> read_contents(const File& file);

}  // namespace levin::detail
