#pragma once
#include <vector>

#include "block_writer.h"
#include "file_groups.h"
#include "levin/checkpoint/manifest.h"

namespace levin::detail {

/// Adds the blocks to the manifest's data sets, which are the regions, in order, and then the texts. UsageError for bytes that no rank or
/// more than one rank has written.
void add_blocks(Manifest& manifest, std::vector<WrittenBlock> blocks, const std::vector<Region>& regions,
                const std::vector<TensorEntry>& tensors);

/// UsageError unless the regions cover every element of every tensor exactly once.
void check_tensors(std::vector<Region> regions, const std::vector<TensorEntry>& tensors);

}  // namespace levin::detail
