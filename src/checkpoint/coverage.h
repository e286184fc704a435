#pragma once
#include <vector>

#include "block_writer.h"
#include "file_groups.h"
#include "levin/checkpoint/manifest.h"

namespace levin::detail {

/// Gives the checksums of blocks to the manifest's data sets: those of the regions, in their order, and then of texts. UsageError for bytes
/// that no rank has written, or two have.
void add_blocks(Manifest& manifest, std::vector<WrittenBlock> blocks, const std::vector<Region>& regions,
                const std::vector<TensorEntry>& tensors);

/// UsageError where the regions are not all of every tensor, or have an element twice.
void check_tensors(std::vector<Region> regions, const std::vector<TensorEntry>& tensors);

}  // namespace levin::detail
