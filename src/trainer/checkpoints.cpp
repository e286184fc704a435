#include "levin/trainer/checkpoints.h"

#include <chrono>

#include "levin/core/error.h"
#include "levin/trainer/trainer.h"
#include "state_writer.h"

namespace levin {

struct Checkpoints::Folder {
  Folder(const std::filesystem::path& where, Communicator& communicator, const CheckpointWriterOptions& options)
      : path(where), writer(communicator, where, options) {}

  std::filesystem::path path;
  CheckpointWriter writer;
  std::vector<std::function<void(const SaveReport&)>> done;  // of the save under way
};

Checkpoints::Checkpoints(Trainer& trainer) : trainer_(trainer) {}
Checkpoints::~Checkpoints() = default;

std::string Checkpoints::name_of_step(int64_t step) { return fmt::format("step={:06}", step); }

Checkpoints::Folder& Checkpoints::folder_at(const std::filesystem::path& path, const CheckpointWriterOptions& options) {
  for (auto& folder : folders_)
    if (folder->path == path) return *folder;
  return *folders_.emplace_back(std::make_unique<Folder>(path, trainer_.session().communicator().host(), options));
}

void Checkpoints::use(const std::filesystem::path& folder, const CheckpointWriterOptions& options) {
  folder_ = folder;
  if (!folder.empty()) folder_at(folder, options);
}

void Checkpoints::request(CheckpointRequest request) { requests_.push_back(std::move(request)); }

// An error is the same on all ranks, so all of them go on, or none.
template <class Act>
void Checkpoints::forgive(Folder& folder, const Act& act) {
  constexpr int most_failures = 3;
  try {
    act();
  } catch (const IoError& error) {
    folder.done.clear();
    if (++failures_ == most_failures) throw;
    trainer_.session().runtime().log().warning("{}; the training goes on without this checkpoint", error.what());
  }
}

void Checkpoints::committed(Folder& folder, const SaveReport& report) {
  failures_ = 0;
  for (const auto& done : std::exchange(folder.done, {})) done(report);
}

void Checkpoints::look_at(Folder& folder) {
  forgive(folder, [&] {
    if (const auto report = folder.writer.poll()) committed(folder, *report);
  });
}

void Checkpoints::save(const CheckpointRequest& request, Module& module, const LogCollection& logs, const StateDict& loop) {
  auto& folder = folder_at(request.folder);
  forgive(folder, [&] {
    if (const auto report = folder.writer.finish()) committed(folder, *report);
  });
  detail::StateWriter writer(trainer_, module);
  writer.add_model(request.weights_only);
  if (!request.weights_only) {
    writer.add_loop(loop);
    writer.add_running(logs);
    writer.add_callbacks();
  }
  const auto& progress = trainer_.session().progress();
  const CheckpointInfo info{.name = request.name, .step = progress.step, .epoch = progress.epoch, .fields = request.fields};
  forgive(folder, [&] {
    if (request.done) folder.done.push_back(request.done);
    if (request.in_background)
      folder.writer.save_async(info, writer.state());
    else
      committed(folder, folder.writer.save(info, writer.state()));
  });
  if (!request.weights_only && request.folder == folder_) saved_step_ = progress.step;
}

void Checkpoints::at_boundary(Module& module, const LogCollection& logs, const std::function<StateDict()>& loop) {
  for (auto& folder : folders_)
    if (folder->writer.saving()) look_at(*folder);
  if (requests_.empty()) return;
  const StateDict now = loop();
  for (const auto& request : std::exchange(requests_, {})) save(request, module, logs, now);
}

bool Checkpoints::save_for_stop(Module& module, const LogCollection& logs, const std::function<StateDict()>& loop) {
  if (folder_.empty()) return false;
  const int64_t step = trainer_.session().progress().step;
  if (saved_step_ != step) {
    saved_step_ = -1;
    save({.folder = folder_, .name = name_of_step(step), .in_background = false}, module, logs, loop());
  }
  finish();
  return saved_for_stop_ = saved_step_ == step && failures_ == 0;
}

void Checkpoints::finish() {
  using Clock = std::chrono::steady_clock;
  auto told = Clock::now();
  for (auto& folder : folders_)
    forgive(*folder, [&] {
      const auto report = folder->writer.finish([&](uint64_t written, uint64_t all) {
        if (Clock::now() - told < std::chrono::seconds(2)) return;
        told = Clock::now();
        trainer_.session().runtime().log().info("[checkpoint] {:.0f} of {:.0f} MB are written", static_cast<double>(written) / 1e6,
                                                static_cast<double>(all) / 1e6);
      });
      if (report) committed(*folder, *report);
    });
}

}  // namespace levin
