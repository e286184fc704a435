#pragma once
#include <functional>
#include <string>
#include <vector>

#include "../core/file.h"
#include "levin/checkpoint/manifest.h"
#include "slab_runs.h"

namespace levin {
class Communicator;
}

namespace levin::detail {

/// Verifies the files of a manifest: their sizes, the HDF5 metadata (each file on one rank), and the blocks of all data sets except those
/// to `skip` (distributed evenly by bytes). DataError, on all ranks, for the first mismatch. Collective; null communicator: a single rank.
void verify(const std::vector<File>& files, const Manifest& manifest, Communicator* communicator,
            const std::function<bool(const std::string& name)>& skip);

/// Reads bytes [begin, end) of a data set, and verifies their blocks in the same pass, including the rest of blocks at the ends. DataError
/// for a checksum mismatch.
void read_verified(const File& file, const Manifest::Dataset& set, uint64_t begin, uint64_t end, void* memory);
/// The same for runs of the data set.
void read_verified(const File& file, const Manifest::Dataset& set, RunCopier runs);

}  // namespace levin::detail
