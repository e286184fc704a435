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
  bool write_last = true;        ///< the text file `last` names the newest
  bool remove_leftovers = true;  ///< of dead saves, at the start
  int copy_threads = 1;          ///< of each rank, in the copy of a save in the background
  uint64_t alignment = 4096;     ///< tensors of so many bytes begin at multiples of it in the file: a power of two, at least 4096
  /// A folder on a disk of each host's own (NVMe), in which the copies of saves in the background lie, as nameless files, instead of in
  /// memory; empty: in memory.
  std::filesystem::path staging_directory = {};
  /// Nodes whose ranks write a file of their own, state.0.h5, state.1.h5, …; 0: all write one, state.h5.
  int64_t nodes_per_file = 0;
  int64_t ranks_per_file = 0;  ///< the same with numbers of ranks; one of the two at most
  /// For MPI_File_open, which makes the files where there are any: {striping_factor: "8"}. MPI ignores those that it does not know.
  std::map<std::string, std::string> mpi_io_hints = {};
};

/// What a checkpoint is called and where in the training it was made.
struct CheckpointInfo {
  std::string name;  ///< of its directory
  int64_t step = 0, epoch = 0;
  std::map<std::string, std::string> fields = {};  ///< the caller's own, in the manifest; rank 0's are written
};

/// A committed checkpoint; the same on all ranks but for the times.
struct SaveReport {
  std::filesystem::path path;
  uint64_t bytes = 0;          ///< of its files
  double seconds = 0;          ///< from the call to the commit
  double blocked_seconds = 0;  ///< of these the caller was kept waiting, in save_async's call
  bool in_background = false;  ///< false where save_async found no room for a copy
};

/// Writes checkpoints into a folder: all ranks into one HDF5 file, or groups of them each into one, every rank its pieces. Members are
/// collective, on the communicator's ranks (one for tensors in host memory); one thread at a time uses it.
///
/// An error on one rank is the same error on all ranks and names that rank: IoError (74) for what a file system refuses, UsageError for a
/// state that cannot be written (tensors that differ between ranks, elements that no rank has or two have). Nothing is committed then, what
/// was written is removed, and checkpoints that are there stay as they are.
class CheckpointWriter {
 public:
  /// Makes the folder, removes leftovers of dead saves, and tries to write. IoError where that fails: a run learns of it before its first
  /// step.
  CheckpointWriter(Communicator& communicator, std::filesystem::path folder, CheckpointWriterOptions options = {});
  /// The same by a process alone, without MPI.
  explicit CheckpointWriter(std::filesystem::path folder, CheckpointWriterOptions options = {});
  /// Gives up a save that is under way.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Returns when the checkpoint is committed. First waits for a save in the background: its report is lost, its failure
  /// is thrown (finish() first tells them).
  SaveReport save(const CheckpointInfo& info, const CheckpointState& state);

  /// Returns when the state is copied, and writes in the background. First waits for a save before it, as save does. All ranks
  /// then call poll() at the same places, after each step, say, until it has a report or throws: that is where they agree and commit.
  void save_async(const CheckpointInfo& info, const CheckpointState& state);
  /// Nothing while the save is under way, or when there is none; else its report, once.
  std::optional<SaveReport> poll();
  /// Is there a save whose report or failure poll() and finish() will give? The same on all ranks.
  bool saving() const noexcept;

  /// Called again and again in finish, with the bytes that all ranks have written and will have written.
  using Progress = std::function<void(uint64_t written_bytes, uint64_t all_bytes)>;
  /// Waits for the save under way, and returns its report; nothing when there is none.
  std::optional<SaveReport> finish(const Progress& progress = {});

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace levin
