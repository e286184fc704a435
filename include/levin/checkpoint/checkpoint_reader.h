#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "levin/checkpoint/manifest.h"
#include "levin/checkpoint/tensor_source.h"

namespace levin {

class Communicator;

struct CheckpointReaderOptions {
  /// Beginnings of names ("model/"): the checksums of these tensors are compared in the pass that reads them, and not before. What is
  /// not read of them is not compared.
  std::vector<std::string> verify_on_read = {};
};

/// A checkpoint that has been found whole: its manifest, every byte of its file against the checksums, and then what HDF5 says of it (see
/// docs/architecture.md for what is refused). Nothing is read from other files, and no code of the checkpoint's is run. It was written by
/// any number of ranks, and each rank reads what it likes.
class CheckpointReader : public TensorSource {
 public:
  /// Verifies and opens, alone. DataError (65), which names the file, and the tensor or "metadata", for a checkpoint that is not whole.
  explicit CheckpointReader(const std::filesystem::path& checkpoint, const CheckpointReaderOptions& options = {})
      : CheckpointReader(checkpoint, nullptr, options) {}
  /// The same by all ranks of `communicator` (for tensors in host memory), each of which reads its part of the file for the checksums; an
  /// error on one is the same error on all. Collective. All of the rest is not.
  CheckpointReader(const std::filesystem::path& checkpoint, Communicator& communicator, const CheckpointReaderOptions& options = {})
      : CheckpointReader(checkpoint, &communicator, options) {}
  ~CheckpointReader() override;
  CheckpointReader(CheckpointReader&&) noexcept;
  CheckpointReader& operator=(CheckpointReader&&) noexcept;

  const std::filesystem::path& path() const noexcept override;
  const std::vector<TensorEntry>& tensors() const noexcept override;
  const TensorEntry* find(const std::string& name) const noexcept override;
  /// Of a tensor that is verified on reading, DataError for a block that does not match its checksum; `memory` is then not to be used.
  void read(const std::string& name, int64_t begin, int64_t end, void* memory) const override;
  void read(const std::string& name, const Hyperslab& slab, void* memory) const override;
  /// Collective: runs this rank's reads, and throws on all ranks what one of them threw.
  void together(const std::function<void()>& reads) const;
  std::string weights_prefix() const override { return "model/"; }
  const Manifest& manifest() const noexcept;
  /// All texts by name, as they were written.
  const std::map<std::string, std::string>& texts() const noexcept;

 private:
  CheckpointReader(const std::filesystem::path& checkpoint, Communicator* communicator, const CheckpointReaderOptions& options);

  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// What newest_checkpoint found.
struct NewestCheckpoint {
  std::unique_ptr<CheckpointReader> reader;  ///< null when no checkpoint is whole
  std::vector<std::string> refused;          ///< why newer ones, and directories without a good manifest, were passed over
};

/// The newest checkpoint of a folder, by its manifest's step, that is whole, but for those that were `passed_over`. Collective; all ranks
/// find the same one. The last one that is left is verified as a whole, whatever the options say: nothing could be taken in its place.
NewestCheckpoint newest_checkpoint(const std::filesystem::path& folder, Communicator& communicator,
                                   const CheckpointReaderOptions& options = {}, const std::vector<std::filesystem::path>& passed_over = {});
/// The same among the checkpoints of several folders.
NewestCheckpoint newest_checkpoint(const std::vector<std::filesystem::path>& folders, Communicator& communicator,
                                   const CheckpointReaderOptions& options = {}, const std::vector<std::filesystem::path>& passed_over = {});

}  // namespace levin
