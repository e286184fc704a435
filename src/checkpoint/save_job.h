#pragma once
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "block_writer.h"
#include "commit.h"
#include "file_groups.h"
#include "file_layout.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/checkpoint/manifest.h"

namespace levin::detail {

/// What is known of the files' layout from one save to the next, on every rank.
struct KnownLayout {
  struct StateFile {
    uint64_t bytes = 0, metadata_hash = 0;
    std::vector<Region> regions;  ///< of the tensors, in order: a data set each; on rank 0 and the ranks that write the file
    std::vector<FileLayout::Extent> extents;
  };

  std::string key;                                ///< of what this rank brought
  bool of_pieces = false;                         ///< the data sets depend on the ranks' pieces: several files, or boxes
  std::unordered_map<std::string, size_t> index;  ///< of a tensor's name
  std::shared_ptr<const std::vector<StateFile>> files;
  size_t datasets = 0, first_dataset = 0;  ///< all tensors' data sets in all files; the number of the first in this rank's
  std::shared_ptr<const FileLayout> mine;  ///< of this rank's file, on the rank that makes it
};

/// One save, step by step. `collective` steps are made by all ranks together and throw on all or none; `local` ones by any thread.
class SaveJob {
 public:
  /// A null communicator is a rank alone.
  SaveJob(Communicator* communicator, const std::filesystem::path& folder, CheckpointInfo info, const CheckpointWriterOptions& options,
          const FileGroups& groups)
      : communicator_(communicator), folder_(folder), info_(std::move(info)), options_(options), groups_(groups) {}

  /// Collective: finds the layout, makes the partial directory and its files, and what this rank has to write. HDF5 is entered by the ranks
  /// that make files, and only when the layout is another than before.
  void begin(const CheckpointState& state, KnownLayout& layout);
  std::vector<Part>& parts() noexcept { return parts_; }
  /// Local: writes this rank's parts, and where it made a file HDF5's own bytes.
  void write();
  /// Collective: rank 0 learns of all blocks.
  void collect_blocks();
  /// Local, on rank 0: checks that all bytes are written, and commits.
  void commit(bool write_last);

  WriteProgress& progress() noexcept { return progress_; }
  uint64_t my_bytes() const noexcept { return my_bytes_; }
  uint64_t file_bytes() const noexcept;
  std::filesystem::path target() const { return folder_ / info_.name; }

 private:
  /// All have the same tensors; has any rank others than before, or other pieces?
  bool agree_on_tensors(const std::string& key, bool changed);
  void check(const CheckpointState& state, bool changed) const;
  /// Another key: other data sets. `tensors`: the key of them alone.
  std::string key_of(const CheckpointState& state, const std::string& tensors, bool of_pieces) const;
  KnownLayout make_layout_of_all(const CheckpointState& state, const std::vector<Region>& pieces, KnownLayout known);
  std::vector<Region> regions_of_file(const CheckpointState& state, const std::vector<Region>& pieces, bool of_pieces) const;
  void make_files();
  void make_parts(const CheckpointState& state, const std::vector<Region>& pieces, const KnownLayout& known);
  Manifest make_manifest() const;

  bool is_first() const;
  bool makes_file() const;
  std::string file_name() const { return Manifest::state_file(groups_.mine, groups_.count()); }

  Communicator* communicator_;
  std::filesystem::path folder_;
  CheckpointInfo info_;
  CheckpointWriterOptions options_;
  FileGroups groups_;
  std::optional<PartialCheckpoint> partial_;  ///< rank 0 alone
  File file_;
  std::shared_ptr<const std::vector<KnownLayout::StateFile>> files_;
  std::shared_ptr<const FileLayout> layout_;  ///< where this rank makes a file
  std::vector<TensorEntry> tensors_;          ///< rank 0 alone
  std::vector<TextEntry> texts_;              ///< rank 0 alone: filled up with zeros
  std::vector<Part> parts_;
  std::vector<WrittenBlock> blocks_;
  WriteProgress progress_;
  uint64_t my_bytes_ = 0;
};

}  // namespace levin::detail
