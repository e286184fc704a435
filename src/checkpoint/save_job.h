#pragma once
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "block_writer.h"
#include "commit.h"
#include "file_layout.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/checkpoint/manifest.h"

namespace levin::detail {

/// What is known of the file's layout from one save to the next, on every rank.
struct KnownLayout {
  std::string whole_key;  ///< of tensors and texts; rank 0 alone
  std::vector<FileLayout::Place> tensors;
  uint64_t file_bytes = 0;
  std::unordered_map<std::string, size_t> index;  ///< of a tensor's name
  std::shared_ptr<const FileLayout> whole;        ///< rank 0 alone
};

/// One save, step by step. `collective` steps are made by all ranks together and throw on all or none; `local` ones by any thread.
class SaveJob {
 public:
  /// A null communicator is a rank alone.
  SaveJob(Communicator* communicator, const std::filesystem::path& folder, CheckpointInfo info, const CheckpointWriterOptions& options)
      : communicator_(communicator), folder_(folder), info_(std::move(info)), sync_(options.fsync), alignment_(options.alignment) {}

  /// Collective: finds the layout, makes the partial directory and its file, and what this rank has to write. HDF5 is entered by rank 0,
  /// and only when the layout is another than before.
  void begin(const CheckpointState& state, KnownLayout& layout);
  std::vector<Part>& parts() noexcept { return parts_; }
  /// Local: writes this rank's parts, and rank 0 HDF5's own bytes.
  void write();
  /// Collective: rank 0 learns of all blocks.
  void collect_blocks();
  /// Local, on rank 0: checks that all bytes are written, and commits.
  void commit(bool write_last);

  WriteProgress& progress() noexcept { return progress_; }
  uint64_t my_bytes() const noexcept { return my_bytes_; }
  uint64_t file_bytes() const noexcept { return file_bytes_; }
  std::filesystem::path target() const { return folder_ / info_.name; }

 private:
  void agree_on_tensors(const std::string& key);
  void make_parts(const CheckpointState& state, const KnownLayout& layout);
  Manifest make_manifest() const;

  bool is_first() const;

  Communicator* communicator_;
  std::filesystem::path folder_;
  CheckpointInfo info_;
  bool sync_;
  uint64_t alignment_;
  std::optional<PartialCheckpoint> partial_;  ///< rank 0 alone
  File file_;
  std::shared_ptr<const FileLayout> layout_;  ///< rank 0 alone
  std::vector<std::string> names_, texts_;    ///< rank 0 alone: of all data sets; texts filled up with zeros
  std::vector<size_t> element_bytes_;         ///< rank 0 alone: of each tensor
  std::vector<Part> parts_;
  std::vector<WrittenBlock> blocks_;
  WriteProgress progress_;
  uint64_t my_bytes_ = 0, file_bytes_ = 0;
};

}  // namespace levin::detail
