#pragma once
#include "../core/file.h"
#include "levin/checkpoint/manifest.h"

namespace levin {
class Communicator;
}

namespace levin::detail {

/// Every byte of the file against the manifest's checksums: its size, HDF5's own bytes (on rank 0), the blocks (each rank about as many
/// bytes as the others). DataError, on all ranks, for the first that does not match. Collective; a null communicator is a rank alone.
void verify(const File& file, const Manifest& manifest, Communicator* communicator);

}  // namespace levin::detail
