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
  /// Prefixes of names ("model/"). Tensors with such a name are verified in the pass that reads them instead of at opening; blocks that
  /// nobody reads are not verified.
  std::vector<std::string> verify_on_read = {};
};

/// A verified checkpoint: its manifest, every byte of its files against the checksums, and then the HDF5 metadata (docs/architecture.md
/// lists what is refused). Reads no other files and executes nothing from the checkpoint. Any number of ranks can have written it, and
/// each rank can read any elements.
class CheckpointReader : public TensorSource {
 public:
  /// Verifies and opens the checkpoint in this process alone. DataError (65), with the file and the tensor (or "metadata"), if it is
  /// corrupt.
  explicit CheckpointReader(const std::filesystem::path& checkpoint, const CheckpointReaderOptions& options = {})
      : CheckpointReader(checkpoint, nullptr, options) {}
  /// Collective over `communicator` (for tensors in host memory): each rank verifies its share of the bytes, and an error on one rank is
  /// thrown on all. Other members are local unless marked collective.
  CheckpointReader(const std::filesystem::path& checkpoint, Communicator& communicator, const CheckpointReaderOptions& options = {})
      : CheckpointReader(checkpoint, &communicator, options) {}
  ~CheckpointReader() override;
  CheckpointReader(CheckpointReader&&) noexcept;
  CheckpointReader& operator=(CheckpointReader&&) noexcept;

  const std::filesystem::path& path() const noexcept override;
  const std::vector<TensorEntry>& tensors() const noexcept override;
  const TensorEntry* find(const std::string& name) const noexcept override;
  /// For a tensor that is verified on reading: DataError if a block does not match its checksum; the contents of `memory` are then invalid.
  void read(const std::string& name, int64_t begin, int64_t end, void* memory) const override;
  void read(const std::string& name, const Hyperslab& slab, void* memory) const override;
  /// Collective: runs this rank's reads; an error on one rank is thrown on all.
  void together(const std::function<void()>& reads) const;
  std::string weights_prefix() const override { return "model/"; }
  const Manifest& manifest() const noexcept;
  /// All texts, by name.
  const std::map<std::string, std::string>& texts() const noexcept;

 private:
  CheckpointReader(const std::filesystem::path& checkpoint, Communicator* communicator, const CheckpointReaderOptions& options);

  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// The result of newest_checkpoint.
struct NewestCheckpoint {
  std::unique_ptr<CheckpointReader> reader;  ///< null if no checkpoint is intact
  std::vector<std::string> refused;          ///< an error for each newer checkpoint and for each directory without a valid manifest
};

/// The newest intact checkpoint of a folder, by the step in its manifest, except those in `passed_over`. Collective; all ranks get the same
/// checkpoint. The last remaining candidate is verified fully, whatever the options: no other could replace it.
NewestCheckpoint newest_checkpoint(const std::filesystem::path& folder, Communicator& communicator,
                                   const CheckpointReaderOptions& options = {}, const std::vector<std::filesystem::path>& passed_over = {});
/// The same over several folders.
NewestCheckpoint newest_checkpoint(const std::vector<std::filesystem::path>& folders, Communicator& communicator,
                                   const CheckpointReaderOptions& options = {}, const std::vector<std::filesystem::path>& passed_over = {});

}  // namespace levin
