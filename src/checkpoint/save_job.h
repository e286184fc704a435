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

/// The layout of the files, kept on every rank from one save to the next.
struct KnownLayout {
  struct StateFile {
    uint64_t bytes = 0, metadata_hash = 0;
    std::vector<Region> regions;  ///< one per data set of a tensor, sorted; known on rank 0 and the ranks that write the file
    std::vector<FileLayout::Extent> extents;
  };

  std::string key;                                ///< key of this rank's input (see SaveJob::key_of)
  bool depends_on_pieces = false;                 ///< the data sets depend on the ranks' pieces: several files, or boxes
  std::unordered_map<std::string, size_t> index;  ///< from a tensor's name
  std::shared_ptr<const std::vector<StateFile>> files;
  size_t datasets = 0;                       ///< number of data sets of tensors in all files
  size_t first_dataset = 0;                  ///< index of the first one in this rank's file
  std::shared_ptr<const FileLayout> layout;  ///< layout of this rank's file, on the rank that creates it
};

/// One save, in steps. All ranks make the collective steps together, which throw on all ranks or on none. Any thread may make the local
/// steps.
class SaveJob {
 public:
  /// Null communicator: a single rank.
  SaveJob(Communicator* communicator, const std::filesystem::path& folder, CheckpointInfo info, const CheckpointWriterOptions& options,
          const FileGroups& groups)
      : communicator_(communicator), folder_(folder), info_(std::move(info)), options_(options), groups_(groups) {}

  /// Collective: determines the layout, creates the partial directory and its files, and lists the parts that this rank writes. Only ranks
  /// that create files enter HDF5, and only if the layout has changed.
  void begin(const CheckpointState& state, KnownLayout& layout);
  std::vector<Part>& parts() noexcept { return parts_; }
  /// Local: writes this rank's parts and, on the rank that created the file, the HDF5 metadata.
  void write();
  /// Collective: gathers all blocks on rank 0.
  void collect_blocks();
  /// Local, effective on rank 0 only: checks that all elements are written, and commits.
  void commit(bool write_last);

  WriteProgress& progress() noexcept { return progress_; }
  uint64_t my_bytes() const noexcept { return my_bytes_; }
  uint64_t file_bytes() const noexcept;
  std::filesystem::path target() const { return folder_ / info_.name; }

 private:
  /// Collective: UsageError unless all ranks have the same tensors. Returns whether `changed` holds on any rank.
  bool agree_on_tensors(const std::string& key, bool changed);
  void check(const CheckpointState& state, bool changed) const;
  /// Key of this rank's input: the layout must be updated when it changes. `tensors` is the key of the tensors alone. Boxes always count,
  /// ranges only `with_ranges`.
  std::string key_of(const CheckpointState& state, const std::string& tensors, bool with_ranges) const;
  KnownLayout make_layouts(const CheckpointState& state, const std::vector<Region>& pieces, KnownLayout known);
  std::vector<Region> regions_of_file(const CheckpointState& state, const std::vector<Region>& pieces, bool depends_on_pieces) const;
  void make_files();
  void make_parts(const CheckpointState& state, const std::vector<Region>& pieces, const KnownLayout& known);
  Manifest make_manifest() const;

  bool is_first() const;
  bool makes_file() const;
  std::string file_name() const { return Manifest::state_file(groups_.file, groups_.count()); }

  Communicator* communicator_;
  std::filesystem::path folder_;
  CheckpointInfo info_;
  CheckpointWriterOptions options_;
  FileGroups groups_;
  std::optional<PartialCheckpoint> partial_;  ///< only on rank 0
  File file_;
  std::shared_ptr<const std::vector<KnownLayout::StateFile>> files_;
  std::shared_ptr<const FileLayout> layout_;  ///< only on ranks that create a file
  std::vector<TensorEntry> tensors_;          ///< only on rank 0
  std::vector<TextEntry> texts_;              ///< only on rank 0; padded with zeros
  std::vector<Part> parts_;
  std::vector<WrittenBlock> blocks_;
  WriteProgress progress_;
  uint64_t my_bytes_ = 0;
};

}  // namespace levin::detail
