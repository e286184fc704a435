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

/// The manifest's files against its checksums: their sizes, HDF5's own bytes (those of a file on one rank), the blocks of all data sets but
/// those that come `later` (each rank about as many bytes as the others). DataError, on all ranks, for the first that does not match.
/// Collective; a null communicator is a rank alone.
void verify(const std::vector<File>& files, const Manifest& manifest, Communicator* communicator,
            const std::function<bool(const std::string& name)>& later);

/// Bytes [begin, end) of a data set, read and compared with the checksums of their blocks in one pass; of blocks at the ends the other
/// bytes are read, too. DataError for a block that does not match.
void read_verified(const File& file, const Manifest::Dataset& set, uint64_t begin, uint64_t end, void* memory);
/// The same with runs of the data set's bytes.
void read_verified(const File& file, const Manifest::Dataset& set, RunCopier runs);

}  // namespace levin::detail
