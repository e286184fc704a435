#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "levin/checkpoint/checkpoint_state.h"
#include "levin/checkpoint/manifest.h"

namespace levin {

class Communicator;

/// A checkpoint that has been found whole: its manifest, every byte of its file against the checksums, and then what HDF5 says of it (see
/// docs/architecture.md for what is refused). Nothing is read from other files, and no code of the checkpoint's is run. It was written by
/// any number of ranks, and each rank reads what it likes.
class CheckpointReader {
 public:
  /// Verifies and opens, alone. DataError (65), which names the file, and the tensor or "metadata", for a checkpoint that is not whole.
  explicit CheckpointReader(const std::filesystem::path& checkpoint) : CheckpointReader(checkpoint, nullptr) {}
  /// The same by all ranks of `communicator` (for tensors in host memory), each of which reads its part of the file for the checksums; an
  /// error on one is the same error on all. Collective. All of the rest is not.
  CheckpointReader(const std::filesystem::path& checkpoint, Communicator& communicator) : CheckpointReader(checkpoint, &communicator) {}
  ~CheckpointReader();
  CheckpointReader(CheckpointReader&&) noexcept;
  CheckpointReader& operator=(CheckpointReader&&) noexcept;

  const std::filesystem::path& path() const noexcept;
  const Manifest& manifest() const noexcept;
  /// In the order of the file.
  const std::vector<TensorEntry>& tensors() const noexcept;
  /// Null when there is none of this name.
  const TensorEntry* find(const std::string& name) const noexcept;
  /// Elements [begin, end) of a tensor in row-major order. DataError when there is no such tensor or there are no such elements. Threads
  /// may read at the same time.
  void read(const std::string& name, int64_t begin, int64_t end, void* memory) const;
  /// All texts by name, as they were written.
  const std::map<std::string, std::string>& texts() const noexcept;

 private:
  CheckpointReader(const std::filesystem::path& checkpoint, Communicator* communicator);

  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// What newest_checkpoint found.
struct NewestCheckpoint {
  std::unique_ptr<CheckpointReader> reader;  ///< null when no checkpoint is whole
  std::vector<std::string> refused;          ///< why newer ones, and directories without a good manifest, were passed over
};

/// The newest checkpoint of a folder, by its manifest's step, that is whole. Collective; all ranks find the same one.
NewestCheckpoint newest_checkpoint(const std::filesystem::path& folder, Communicator& communicator);

}  // namespace levin
