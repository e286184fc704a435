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

/// A callback's request for a checkpoint.
struct CheckpointRequest {
  std::filesystem::path folder;  ///< folder of checkpoints
  std::string name;              ///< name of the checkpoint's directory; empty: name_of_step
  std::map<std::string, std::string> fields = {};
  bool weights_only = false;
  bool in_background = true;
  /// Called on all ranks when the state of this step is saved; it may set name and fields.
  std::function<void(CheckpointRequest&, int64_t step)> describe = {};
  std::function<void(const SaveReport&)> done = {};  ///< called on all ranks after the commit
};

/// The checkpoints of a training. A hook requests a checkpoint, on all ranks in the same step; it is made at the next step boundary. A
/// write error is a warning, and the training continues; the third consecutive one is thrown as an IoError.
class Checkpoints {
 public:
  explicit Checkpoints(Session& session);
  ~Checkpoints();

  /// Sets the folder of checkpoints, which save_for_stop uses, too; empty: none. Collective. IoError if the folder cannot be written.
  void use(const std::filesystem::path& folder);
  /// The same, and sets the options of all later checkpoints in this folder, whoever has used it before. Without this a folder has the
  /// default options.
  void use(const std::filesystem::path& folder, const CheckpointWriterOptions& options);
  const std::filesystem::path& folder() const noexcept { return folder_; }
  /// Folders in use whose checkpoints contain more than weights.
  const std::vector<std::filesystem::path>& resumable_folders() const noexcept { return resumable_; }
  void add_resumable(const std::filesystem::path& folder) { resumable_.push_back(folder); }
  void request(CheckpointRequest request);

  /// Requests a checkpoint of the last complete step in case the training ends with an exception that all ranks throw in the same step,
  /// outside of an update. For a callback's setup.
  void request_on_exception(CheckpointRequest request);
  /// For the loop: call begin_training at the begin of a training, save_on_exception when it ends with an exception. A rank waits a few
  /// seconds for the others, on a separate communicator; if a rank is missing or at another step, nothing is saved.
  void begin_training();
  bool saves_on_exception() const noexcept { return after_error_ != nullptr; }
  void save_on_exception(const std::string& why, const StateDict& last_step) noexcept;

  /// For the loop, right before the first step, when nothing can refuse the training any more: opens the training's branch in all folders
  /// (see open_branch). `from`: the checkpoint that the training resumes from, or null. Returns on rank 0 whether `from` is the training's
  /// past: it lies in one of the folders, or is `of_this_run`. Collective: an IoError is thrown on all ranks.
  bool begin_branch(const CheckpointReader* from, bool of_this_run = false);
  /// The folders that begin_branch moved checkpoints to.
  const std::vector<std::filesystem::path>& abandoned() const noexcept { return abandoned_; }
  /// For the loop, when a limit ends the training in the middle of an epoch. Until end_training, checkpoints contain the state of this
  /// moment (parameters excepted), so that a resumed training continues the epoch, whatever the end of the epoch changes. Collective.
  void keep_state(const StateDict& loop);
  /// Whether the newest checkpoint of this folder contains the end of the training.
  bool has_end(const std::filesystem::path& folder) const;
  /// Waits for saves in progress, and drops the kept state and requests that were not saved. Collective.
  void end_training();

  /// For the loop, at a step boundary: saves requested checkpoints and commits written ones. Collective.
  void at_boundary(const std::function<StateDict()>& loop);
  /// The same for a training that must stop: returns when its state is committed. False without a folder, or if the save failed.
  /// Collective.
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
  Folder* find_folder(const std::filesystem::path& path) const;
  Folder& folder_at(const std::filesystem::path& path, const CheckpointWriterOptions& options_of_new = {});
  void save(CheckpointRequest request, const StateDict& loop);
  void committed(Folder& folder, const SaveReport& report);
  void poll_folder(Folder& folder);
  template <class Write>
  void tolerate_io_error(Folder& folder, const Write& write);
  bool all_ranks_at_step(const std::string& why, int64_t step);

  Session& session_;
  std::filesystem::path folder_;
  std::vector<CheckpointRequest> requests_;
  std::vector<std::unique_ptr<Folder>> folders_;
  std::vector<CheckpointRequest> on_exception_;
  std::unique_ptr<KeptState> kept_;
  std::vector<std::filesystem::path> abandoned_, resumable_;
  std::unique_ptr<Communicator> after_error_;  // for the ranks that have thrown
  int64_t saved_step_ = -1;
  double slowest_save_seconds_ = 0;
  bool saved_for_stop_ = false;
};

}  // namespace levin
