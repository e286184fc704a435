#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "levin/checkpoint/checkpoint_state.h"

namespace levin {

class Communicator;

struct CheckpointWriterOptions {
  bool fsync = true;             ///< a committed checkpoint survives a power failure
  bool write_last = true;        ///< write the text file `last`, which names the newest checkpoint
  bool remove_leftovers = true;  ///< remove leftovers of dead saves in the constructor
  int copy_threads = 1;          ///< threads per rank that copy the state of a background save
  uint64_t alignment = 4096;     ///< bytes, a power of two, at least 4096; tensors of at least this size begin at multiples of it
  /// Directory on a disk local to each host (NVMe) for the copies of background saves, as unnamed files. Empty: the copies stay in memory.
  std::filesystem::path staging_directory = {};
  /// Number of nodes whose ranks share a file: state.0.h5, state.1.h5, …. 0: all ranks write state.h5.
  int64_t nodes_per_file = 0;
  int64_t ranks_per_file = 0;  ///< number of ranks that share a file; excludes nodes_per_file
  /// Hints for MPI_File_open, which then creates the files: {striping_factor: "8"}. MPI ignores unknown hints.
  std::map<std::string, std::string> mpi_io_hints = {};

  bool operator==(const CheckpointWriterOptions&) const = default;
};

/// The name of a checkpoint and its place in the training.
struct CheckpointInfo {
  std::string name;  ///< name of its directory
  int64_t step = 0, epoch = 0;
  std::map<std::string, std::string> fields = {};  ///< user fields for the manifest; only rank 0's are written
};

/// A committed checkpoint; the same on all ranks except for the times.
struct SaveReport {
  std::filesystem::path path;
  uint64_t bytes = 0;          ///< total size of its files
  double seconds = 0;          ///< from the call to the commit
  double blocked_seconds = 0;  ///< time that the call of save or save_async blocked the caller
  bool in_background = false;  ///< false also if save_async had no room for a copy
};

/// Writes checkpoints into a folder. Every rank writes its pieces, all into one HDF5 file or each group of ranks into one. All members
/// except saving() and the destructor are collective over the communicator (for tensors in host memory). Not thread-safe.
///
/// An error on one rank is thrown on all ranks and names that rank: IoError (74) if the file system fails, UsageError if the state is
/// invalid (tensors differ between ranks, elements missing or provided twice). Nothing is then committed, partial files are removed, and
/// existing checkpoints remain.
class CheckpointWriter {
 public:
  /// Creates the folder, removes leftovers of dead saves, and creates a probe file: an unwritable folder is an IoError before the
  /// first step.
  CheckpointWriter(Communicator& communicator, std::filesystem::path folder, CheckpointWriterOptions options = {});
  /// The same for a single process, without MPI.
  explicit CheckpointWriter(std::filesystem::path folder, CheckpointWriterOptions options = {});
  /// Cancels a save in progress.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Returns when the checkpoint is committed. First waits for a background save: throws its error, drops its report (call finish() first
  /// to get both).
  SaveReport save(const CheckpointInfo& info, const CheckpointState& state);

  /// Returns when the state is copied, and writes it in the background. First waits for an earlier save, as save() does. All ranks then
  /// call poll() at the same points, such as after each step, until it returns a report or throws: the ranks agree and commit in poll().
  void save_async(const CheckpointInfo& info, const CheckpointState& state);
  /// The report of a completed save, once; nullopt while it is in progress, or without a save.
  std::optional<SaveReport> poll();
  /// Whether poll() or finish() still has a report or an error to deliver. Local; the same on all ranks.
  bool saving() const noexcept;

  /// Called repeatedly by finish() with the bytes written so far and the bytes to write, summed over all ranks.
  using Progress = std::function<void(uint64_t written_bytes, uint64_t all_bytes)>;
  /// Waits for a save in progress and returns its report; nullopt without a save.
  std::optional<SaveReport> finish(const Progress& progress = {});

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace levin
