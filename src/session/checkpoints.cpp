#include "levin/session/checkpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "levin/checkpoint/branch.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/session/averaged_parameters.h"
#include "levin/session/session.h"
#include "part_timer.h"
#include "state_names.h"
#include "state_writer.h"

namespace levin {
namespace {

void gather(detail::StateWriter& writer, Session& session, bool weights_only, const StateDict& loop, bool keep = false) {
  if (keep && session.averages()) writer.keep_copies();  // the end of the epoch may change the averages, or show them
  writer.add_model(weights_only);
  if (weights_only) return;
  if (keep) writer.keep_copies();
  writer.add(detail::loop_state, loop);
  for (auto* stateful : session.stateful()) writer.add(*stateful);
}

CheckpointInfo info_of(const CheckpointRequest& request, const StateDict& loop) {
  const int64_t step = loop.get<int64_t>("step");
  return {.name = request.name.empty() ? Checkpoints::name_of_step(step) : request.name,
          .step = step,
          .epoch = loop.get<int64_t>("epoch"),
          .fields = request.fields};
}

// Users of a folder may write its path differently.
std::filesystem::path plain_path(const std::filesystem::path& path) {
  if (path.empty()) return path;
  const auto plain = std::filesystem::absolute(path).lexically_normal();
  return plain.has_filename() ? plain : plain.parent_path();
}

bool is_same_folder(const std::filesystem::path& a, const std::filesystem::path& b) {
  std::error_code unseen;  // equivalent() follows links
  return std::filesystem::equivalent(a.empty() ? "." : a, b.empty() ? "." : b, unseen);
}

}  // namespace

struct Checkpoints::Folder {
  Folder(const std::filesystem::path& where, Communicator& communicator, const CheckpointWriterOptions& of_writer)
      : path(where), options(of_writer), writer(std::make_unique<CheckpointWriter>(communicator, where, of_writer)) {}

  std::filesystem::path path;
  CheckpointWriterOptions options;
  std::unique_ptr<CheckpointWriter> writer;
  std::vector<std::function<void(const SaveReport&)>> done;  // of the save in progress
  double gather_seconds = 0;                                 // of the save in progress, before its writer started
  int64_t resumable_step = -1;                               // of the save in progress; -1: weights only
  bool saves_end = false, has_end = false;                   // the save in progress, the newest checkpoint: at the training's end
  int failures = 0;                                          // consecutive
};

struct Checkpoints::KeptState {
  detail::StateWriter writer;
  StateDict loop;
};

Checkpoints::Checkpoints(Session& session) : session_(session) {}
Checkpoints::~Checkpoints() = default;

std::string Checkpoints::name_of_step(int64_t step) { return fmt::format("step={:06}", step); }

// An error is the same on all ranks, so either all continue or none.
template <class Write>
void Checkpoints::tolerate_io_error(Folder& folder, const Write& write) {
  constexpr int most_failures = 3;
  try {
    write();
  } catch (const IoError& error) {
    folder.done.clear();
    if (++folder.failures == most_failures) throw;
    session_.runtime().log().warning("{}; the training continues without this checkpoint", error.what());
  }
}

Checkpoints::Folder* Checkpoints::find_folder(const std::filesystem::path& path) const {
  const auto plain = plain_path(path);
  for (const auto& folder : folders_)
    if (plain_path(folder->path) == plain) return folder.get();
  return nullptr;
}

Checkpoints::Folder& Checkpoints::folder_at(const std::filesystem::path& path, const CheckpointWriterOptions& options_of_new) {
  if (auto* folder = find_folder(path)) return *folder;
  return *folders_.emplace_back(std::make_unique<Folder>(path, session_.communicator().cpu(), options_of_new));
}

void Checkpoints::use(const std::filesystem::path& folder) {
  folder_ = folder;
  if (!folder.empty()) folder_at(folder);
}

void Checkpoints::use(const std::filesystem::path& folder, const CheckpointWriterOptions& options) {
  folder_ = folder;
  if (folder.empty()) return;
  auto& used = folder_at(folder, options);
  if (used.options == options) return;
  tolerate_io_error(used, [&] {
    if (const auto report = used.writer->finish()) committed(used, *report);
  });
  used.writer = std::make_unique<CheckpointWriter>(session_.communicator().cpu(), used.path, options);
  used.options = options;
}

void Checkpoints::request(CheckpointRequest request) { requests_.push_back(std::move(request)); }

void Checkpoints::committed(Folder& folder, const SaveReport& report) {
  folder.failures = 0;
  if (folder.resumable_step >= 0 && &folder == find_folder(folder_)) saved_step_ = folder.resumable_step;
  slowest_save_seconds_ = std::max(slowest_save_seconds_, folder.gather_seconds + report.seconds);
  folder.has_end = folder.saves_end;
  for (const auto& done : std::exchange(folder.done, {})) done(report);
}

void Checkpoints::poll_folder(Folder& folder) {
  const detail::PartTimer timer(detail::TimePart::checkpoint);
  tolerate_io_error(folder, [&] {
    if (const auto report = folder.writer->poll()) committed(folder, *report);
  });
}

void Checkpoints::save(CheckpointRequest request, const StateDict& loop) {
  const FlightRecord::Phase phase(session_.flight(), "save");
  const detail::PartTimer timer(detail::TimePart::checkpoint);
  auto& folder = folder_at(request.folder);
  tolerate_io_error(folder, [&] {
    if (const auto report = folder.writer->finish()) committed(folder, *report);
  });
  const auto began = std::chrono::steady_clock::now();
  const bool use_kept = kept_ && !request.weights_only;
  std::optional<detail::StateWriter> live;
  if (!use_kept) gather(live.emplace(session_, session_.communicator().cpu()), session_, request.weights_only, loop);
  const auto& writer = use_kept ? kept_->writer : *live;
  const auto& saved_loop = use_kept ? kept_->loop : loop;
  if (request.describe) request.describe(request, saved_loop.get<int64_t>("step"));
  const auto info = info_of(request, saved_loop);
  folder.gather_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  const auto* averages = use_kept ? nullptr : session_.averages();
  const bool may_become_average = averages && averages->started() && !averages->as_model();  // in on_train_end
  folder.resumable_step = request.weights_only ? -1 : info.step;
  folder.saves_end = saved_loop.contains("ended") && saved_loop.get<bool>("ended") && !may_become_average;
  tolerate_io_error(folder, [&] {
    if (request.done) folder.done.push_back(request.done);
    if (request.in_background)
      folder.writer->save_async(info, writer.state());
    else
      committed(folder, folder.writer->save(info, writer.state()));
  });
  session_.flight().advance();
}

bool Checkpoints::has_end(const std::filesystem::path& folder) const {
  const auto* used = find_folder(folder);
  return used && used->has_end;
}

void Checkpoints::keep_state(const StateDict& loop) {
  if (folders_.empty()) return;
  const detail::PartTimer timer(detail::TimePart::checkpoint);
  kept_ = std::make_unique<KeptState>(KeptState{detail::StateWriter(session_, session_.communicator().cpu()), loop});
  gather(kept_->writer, session_, /*weights_only=*/false, loop, /*keep=*/true);
}

bool Checkpoints::begin_branch(const CheckpointReader* from, bool of_this_run) {
  auto& host = session_.communicator().cpu();
  bool has_past = from != nullptr;
  saved_step_ = -1;
  abandoned_.clear();
  on_all_ranks(host, "checkpoint", [&] {
    if (host.rank() != 0 || folders_.empty()) return;
    const auto holds = [&](const auto& folder) { return is_same_folder(folder->path, from->path().parent_path()); };
    has_past = from && (of_this_run || std::any_of(folders_.begin(), folders_.end(), holds));
    const auto step = has_past ? std::optional(from->manifest().step) : std::nullopt;
    for (const auto& folder : folders_) {
      const auto moved = open_branch(folder->path, step);
      if (moved.names.empty()) continue;
      abandoned_.push_back(moved.folder);
      session_.runtime().log().warning("[checkpoint] the training {}; {} of the abandoned branch moved to {}: {}",
                                       step ? fmt::format("resumes from step {}", *step) : "starts over",
                                       moved.names.size() == 1 ? "a checkpoint" : fmt::format("{} checkpoints", moved.names.size()),
                                       moved.folder.string(), fmt::join(moved.names, ", "));
    }
  });
  std::string folders;  // NUL-terminated paths
  for (const auto& folder : abandoned_) folders += folder.string() + '\0';
  folders = broadcast_text(host, folders);
  abandoned_.clear();
  for (size_t begin = 0, end; (end = folders.find('\0', begin)) != std::string::npos; begin = end + 1)
    abandoned_.emplace_back(folders.substr(begin, end - begin));
  return has_past;
}

void Checkpoints::end_training() {
  finish();
  kept_.reset();
  requests_.clear();  // of a training that stopped before the next boundary
}

void Checkpoints::at_boundary(const std::function<StateDict()>& loop) {
  for (auto& folder : folders_)
    if (folder->writer->saving()) poll_folder(*folder);
  if (requests_.empty()) return;
  const StateDict state = loop();
  for (auto& request : std::exchange(requests_, {})) save(std::move(request), state);
}

bool Checkpoints::save_for_stop(const std::function<StateDict()>& loop) {
  if (folder_.empty()) return false;
  const int64_t step = session_.progress().step;
  const auto& folder = folder_at(folder_);
  if (folder.writer->saving() && folder.resumable_step == step) finish();  // may fail; then this step is saved again
  if (saved_step_ != step) save({.folder = folder_, .name = name_of_step(step), .in_background = false}, loop());
  finish();
  return saved_for_stop_ = saved_step_ == step;
}

void Checkpoints::request_on_exception(CheckpointRequest request) {
  folder_at(request.folder);  // throws now if it cannot be written
  std::erase_if(on_exception_, [&](const auto& pending) { return pending.folder == request.folder && pending.name == request.name; });
  on_exception_.push_back(std::move(request));
}

void Checkpoints::begin_training() {
  after_error_.reset();
  kept_.reset();
  for (const auto& folder : folders_) folder->has_end = false;
  auto& host = session_.communicator().cpu();
  if (!on_exception_.empty()) after_error_ = host.split(0, host.rank());
}

// A rank whose wait times out ends the job, as it would have without waiting.
bool Checkpoints::all_ranks_at_step(const std::string& why, int64_t step) {
  constexpr std::chrono::seconds patience{5};
  std::mutex mutex;
  std::condition_variable_any arrived;
  bool all_arrived = false;
  const std::jthread watch([&](const std::stop_token& ended) {
    std::unique_lock lock(mutex);
    arrived.wait_for(lock, ended, patience, [&] { return all_arrived; });
    if (!all_arrived && !ended.stop_requested()) session_.communicator().abort(why);
  });
  const auto most = all_max(*after_error_, std::vector<int64_t>{step, -step});
  const std::lock_guard lock(mutex);
  all_arrived = true;
  arrived.notify_all();
  return step >= 0 && most[0] == -most[1];
}

void Checkpoints::save_on_exception(const std::string& why, const StateDict& last_step) noexcept {
  if (!after_error_) return;
  const auto& log = session_.runtime().log();
  try {
    if (!all_ranks_at_step(why, last_step.empty() ? -1 : last_step.get<int64_t>("step"))) return;
    for (const auto& request : on_exception_) {
      detail::StateWriter writer(session_, *after_error_);
      gather(writer, session_, request.weights_only, last_step);
      const auto info = info_of(request, last_step);
      auto options = find_folder(request.folder)->options;
      options.remove_leftovers = false;  // another save may be in progress
      const auto report = CheckpointWriter(*after_error_, request.folder, options).save(info, writer.state());
      log.info("[checkpoint] saved the last complete step, {}: {}", info.step, report.path.string());
    }
  } catch (const CommunicatorAborted&) {  // a rank is missing
  } catch (const std::exception& error) {
    if (session_.rank() == 0) log.warning("[checkpoint] cannot save after the exception: {}", error.what());
  } catch (...) {  // a hook threw a non-exception; the first error is the one to report
  }
}

void Checkpoints::finish() {
  const FlightRecord::Phase phase(session_.flight(), "end of the saves");
  const detail::PartTimer timer(detail::TimePart::checkpoint);
  using Clock = std::chrono::steady_clock;
  auto logged_at = Clock::now();
  uint64_t seen = 0;
  for (auto& folder : folders_)
    tolerate_io_error(*folder, [&] {
      const auto report = folder->writer->finish([&](uint64_t written, uint64_t all) {
        if (written > std::exchange(seen, written)) session_.flight().advance();
        if (Clock::now() - logged_at < std::chrono::seconds(2)) return;
        logged_at = Clock::now();
        session_.runtime().log().info("[checkpoint] {:.0f} of {:.0f} MB written", static_cast<double>(written) / 1e6,
                                      static_cast<double>(all) / 1e6);
      });
      if (report) committed(*folder, *report);
    });
}

}  // namespace levin
