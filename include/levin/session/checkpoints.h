#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/session/state_dict.h"

namespace levin {

class CheckpointReader;
class Communicator;
class Session;

/// A checkpoint that a callback wants.
struct CheckpointRequest {
  std::filesystem::path folder;  ///< of checkpoints
  std::string name;              ///< of its directory there; empty: name_of_step
  std::map<std::string, std::string> fields = {};
  bool weights_only = false;
  bool in_background = true;
  std::function<void(const SaveReport&)> done = {};  ///< on all ranks, when it is committed
};

/// The checkpoints of a training. They are made where a step is complete, which is not where a hook asks for them: all ranks ask in
/// the same step. What a file system refuses is a warning, and the training continues; the third time in a row it is an IoError.
class Checkpoints {
 public:
  explicit Checkpoints(Session& session);
  ~Checkpoints();

  /// The folder of checkpoints, and of the state of a training that must stop; empty: none. IoError if it cannot be written. The options
  /// count when a folder is used for the first time.
  void use(const std::filesystem::path& folder, const CheckpointWriterOptions& options = {});
  const std::filesystem::path& folder() const noexcept { return folder_; }
  /// Folders in use whose checkpoints are more than weights.
  const std::vector<std::filesystem::path>& resumable_folders() const noexcept { return resumable_; }
  void add_resumable(const std::filesystem::path& folder) { resumable_.push_back(folder); }
  void request(CheckpointRequest request);

  /// Requests a checkpoint of the last complete step if the training ends with an exception that all ranks throw in the same step, unless a
  /// step is in the middle of its update. For a callback's setup.
  void request_on_exception(CheckpointRequest request);
  /// For the loop: a training begins, and ends with this exception. A rank waits a few seconds for the others, on a separate
  /// communicator; if one is missing or at another step, nothing is saved. Throws nothing.
  void begin_training();
  bool saves_on_exception() const noexcept { return after_error_ != nullptr; }
  void save_on_exception(const std::string& why, const StateDict& last_step) noexcept;

  /// For the loop, when nothing refuses the training any more, before its first step: it is the branch of all folders from now on (see
  /// open_branch). `from`: the checkpoint that it resumes from; null: none. On rank 0 true where that lies in one of the folders, or is
  /// `of_this_run`: its training is this one's past. Collective: all ranks see the same IoError.
  bool begin_branch(const CheckpointReader* from, bool of_this_run = false);
  /// The folders that begin_branch has moved checkpoints to.
  const std::vector<std::filesystem::path>& abandoned() const noexcept { return abandoned_; }
  /// For the loop, in the middle of an epoch that a limit cuts short: the training resumes from here, so this is the state that
  /// checkpoints contain until end_training, whatever the end of the epoch changes; parameters excepted. Collective.
  void keep_state(const StateDict& loop);
  /// Whether a checkpoint of this folder has the end of the training.
  bool has_end(const std::filesystem::path& folder) const;
  /// Waits for saves in progress and drops the kept state. Collective.
  void end_training();

  /// For the loop, where a step is complete: saves the requested checkpoints and commits written ones. Collective.
  void at_boundary(const std::function<StateDict()>& loop);
  /// The same for a training that must stop: returns when its state is committed. False without a folder.
  bool save_for_stop(const std::function<StateDict()>& loop);
  /// Whether save_for_stop saved the state of the last training.
  bool saved_for_stop() const noexcept { return saved_for_stop_; }
  /// Of the slowest save so far, from the first copy to the commit, as this rank measured it; 0 before the first.
  double slowest_save_seconds() const noexcept { return slowest_save_seconds_; }
  /// Waits for saves in progress. Collective.
  void finish();
  /// "step=000400"
  static std::string name_of_step(int64_t step);

 private:
  struct Folder;
  struct KeptState;
  Folder& folder_at(const std::filesystem::path& path, const CheckpointWriterOptions& options = {});
  void save(const CheckpointRequest& request, const StateDict& loop);
  void committed(Folder& folder, const SaveReport& report);
  void poll_folder(Folder& folder);
  template <class Act>
  void forgive(Folder& folder, const Act& act);
  bool all_ranks_at_step(const std::string& why, int64_t step);

  Session& session_;
  std::filesystem::path folder_;
  std::vector<CheckpointRequest> requests_;
  std::vector<std::unique_ptr<Folder>> folders_;
  std::vector<CheckpointRequest> on_exception_;
  std::unique_ptr<KeptState> kept_;
  std::vector<std::filesystem::path> abandoned_, resumable_;
  std::unique_ptr<Communicator> after_error_;  // of ranks that have thrown
  int failures_ = 0;                           // in a row
  int64_t saved_step_ = -1;
  double slowest_save_seconds_ = 0;
  bool saved_for_stop_ = false;
};

}  // namespace levin
