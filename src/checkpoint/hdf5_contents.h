#pragma once
#include <optional>
#include <string>
#include <vector>

#include "../core/file.h"
#include "levin/checkpoint/checkpoint_state.h"

namespace levin::detail {

/// A data set in a file.
struct StoredDataset {
  TensorEntry entry;  ///< of a text: a name, and uint8 of its bytes
  bool is_text = false;
  uint64_t offset = 0, bytes = 0;
};

/// All data sets of an HDF5 file, by offset. No data are read, and nothing of it is trusted: DataError, which names `path` and the data
/// set, for anything but hard links in a tree of groups, contiguous layouts, the types that checkpoints have, and places inside of the
/// file; so for soft and external links, external storage, virtual and chunked data sets, filters, references.
std::vector<StoredDataset> read_contents(const File& file);

}  // namespace levin::detail
