#include "levin/checkpoint/checkpoint_writer.h"

#include <bit>
#include <chrono>
#include <thread>

#include "copy_buffer.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "save_job.h"

namespace levin {

using detail::SaveJob;
using Clock = std::chrono::steady_clock;

namespace {

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Work on another thread, with its completion flag and exception.
class Background {
 public:
  explicit Background(std::function<void()> work)
      : thread_([this, work = std::move(work)] {
          try {
            work();
          } catch (...) {
            failure_ = std::current_exception();
          }
          done_ = true;
        }) {}

  bool done() const noexcept { return done_; }
  std::exception_ptr join() {
    thread_.join();
    return failure_;
  }

 private:
  std::exception_ptr failure_;
  std::atomic<bool> done_{false};
  std::jthread thread_;  // last member: starts after the others are initialized, joins before they are destroyed
};

}  // namespace

class CheckpointWriter::Implementation {
 public:
  Implementation(Communicator* communicator, std::filesystem::path folder, CheckpointWriterOptions options)
      : communicator_(communicator), folder_(std::move(folder)), options_(std::move(options)) {
    on_all_ranks(communicator_, "checkpoint", [&] {
      if (!std::has_single_bit(options_.alignment) || options_.alignment < 4096)
        throw UsageError("checkpoint", fmt::format("alignment is {} bytes", options_.alignment), "use a power of two of at least 4096");
      if (!options_.staging_directory.empty()) detail::CopyBuffer().reserve(1, 1, options_.staging_directory);  // probe: throws if unusable
      detail::check_hints(options_.mpi_io_hints);
      if (!is_first()) return;
      // Throws if the folder is not writable.
      { const detail::PartialCheckpoint probe(folder_, "probe", Manifest::state_file(0, 1), options_.mpi_io_hints); }
      if (options_.remove_leftovers) remove_leftovers(folder_);
    });
    groups_ = detail::make_file_groups(communicator_, options_.nodes_per_file, options_.ranks_per_file);
  }
  ~Implementation() { cancel(); }

  SaveReport save(const CheckpointInfo& info, const CheckpointState& state) {
    finish({});
    const auto start = Clock::now();
    SaveJob job(communicator_, folder_, info, options_, groups_);
    job.begin(state, layout_);
    return save_now(job, start);
  }

  void save_async(const CheckpointInfo& info, const CheckpointState& state) {
    finish({});
    start_ = Clock::now();
    job_ = std::make_unique<SaveJob>(communicator_, folder_, info, options_, groups_);
    try {
      begin_async(state);
    } catch (...) {
      cancel();
      throw;
    }
    blocked_seconds_ = seconds_since(start_);
  }

  std::optional<SaveReport> poll(uint64_t* written = nullptr, uint64_t* all = nullptr) {
    if (finished_) return std::exchange(finished_, std::nullopt);
    if (!job_) return std::nullopt;
    try {
      return advance(written, all);
    } catch (...) {
      cancel();
      throw;
    }
  }

  bool saving() const noexcept { return job_ || finished_; }

  std::optional<SaveReport> finish(const Progress& progress) {
    while (saving()) {
      uint64_t written = 0, all = 0;
      if (auto report = poll(&written, &all)) return report;
      if (progress && all > 0) progress(written, all);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return std::nullopt;
  }

 private:
  bool is_first() const { return !communicator_ || communicator_->rank() == 0; }

  void cancel() noexcept {
    if (job_) job_->progress().cancelled = true;
    background_.reset();
    job_.reset();
  }

  SaveReport save_now(SaveJob& job, Clock::time_point start) {
    on_all_ranks(communicator_, "checkpoint", [&] { job.write(); });
    job.collect_blocks();
    on_all_ranks(communicator_, "checkpoint", [&] { job.commit(options_.write_last); });
    const double seconds = seconds_since(start);
    return {job.target(), job.file_bytes(), seconds, seconds, false};
  }

  void begin_async(const CheckpointState& state) {
    job_->begin(state, layout_);
    const auto bytes = detail::CopyBuffer::bytes_for(job_->parts());
    bool room = false;
    on_all_ranks(communicator_, "checkpoint", [&] {
      room = buffer_.reserve(bytes, communicator_ && communicator_->node() ? communicator_->node()->size() : 1, options_.staging_directory);
    });
    if (all_sum(communicator_, room ? 0 : 1) > 0) {  // the ranks must agree: if one lacks room, all save in the foreground
      finished_ = save_now(*job_, start_);
      job_.reset();
      return;
    }
    job_->parts() = buffer_.copy(std::move(job_->parts()), options_.copy_threads);
    committing_ = false;
    on_all_ranks(communicator_, "checkpoint", [&] { background_ = std::make_unique<Background>([job = job_.get()] { job->write(); }); });
  }

  // One all-reduce per call: all ranks see the end of a phase in the same call.
  std::optional<SaveReport> advance(uint64_t* written, uint64_t* all) {
    const bool done = !background_ || background_->done();
    const auto sums = all_sum(communicator_, std::vector<double>{done ? 0.0 : 1.0, static_cast<double>(job_->progress().bytes),
                                                                 static_cast<double>(job_->my_bytes())});
    if (written) *written = static_cast<uint64_t>(sums[1]);
    if (all) *all = static_cast<uint64_t>(sums[2]);
    if (sums[0] > 0) return std::nullopt;
    const auto failure = background_ ? background_->join() : nullptr;
    background_.reset();
    rethrow_on_all_ranks(communicator_, failure, "checkpoint");
    if (committing_) {
      SaveReport report{job_->target(), job_->file_bytes(), seconds_since(start_), blocked_seconds_, true};
      job_.reset();
      return report;
    }
    job_->collect_blocks();
    committing_ = true;
    on_all_ranks(communicator_, "checkpoint", [&] {
      if (is_first()) background_ = std::make_unique<Background>([job = job_.get(), last = options_.write_last] { job->commit(last); });
    });
    return std::nullopt;
  }

  Communicator* communicator_;
  std::filesystem::path folder_;
  CheckpointWriterOptions options_;
  detail::FileGroups groups_;
  detail::KnownLayout layout_;
  detail::CopyBuffer buffer_;
  std::unique_ptr<SaveJob> job_;            ///< the background save
  std::unique_ptr<Background> background_;  ///< writes, then commits; uses job_ and buffer_
  bool committing_ = false;
  Clock::time_point start_;
  double blocked_seconds_ = 0;
  std::optional<SaveReport> finished_;  ///< of a save_async that had no room for a copy
};

CheckpointWriter::CheckpointWriter(Communicator& communicator, std::filesystem::path folder, CheckpointWriterOptions options)
    : implementation_(std::make_unique<Implementation>(&communicator, std::move(folder), std::move(options))) {}
CheckpointWriter::CheckpointWriter(std::filesystem::path folder, CheckpointWriterOptions options)
    : implementation_(std::make_unique<Implementation>(nullptr, std::move(folder), std::move(options))) {}
CheckpointWriter::~CheckpointWriter() = default;

SaveReport CheckpointWriter::save(const CheckpointInfo& info, const CheckpointState& state) { return implementation_->save(info, state); }
void CheckpointWriter::save_async(const CheckpointInfo& info, const CheckpointState& state) { implementation_->save_async(info, state); }
std::optional<SaveReport> CheckpointWriter::poll() { return implementation_->poll(); }
bool CheckpointWriter::saving() const noexcept { return implementation_->saving(); }
std::optional<SaveReport> CheckpointWriter::finish(const Progress& progress) { return implementation_->finish(progress); }

}  // namespace levin
