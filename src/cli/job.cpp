#include "job.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "../trainer/prepare_data.h"
#include "components.h"
#include "job_checks.h"
#include "job_end.h"
#include "levin/callbacks/lambda_callback.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/comm/host_values.h"
#include "levin/core/number_text.h"
#include "levin/core/trace_context.h"
#include "resume.h"
#include "stack_trace.h"
#include "timings_recorder.h"

namespace levin::cli {
namespace {

Stage stage_of(const std::string& subcommand) {
  for (Stage stage : {Stage::validate, Stage::test, Stage::predict})
    if (subcommand == stage_name(stage)) return stage;
  return Stage::fit;
}

}  // namespace

Job::Job(const Settings& settings, ProgramOptions& options, const Program& program, MpiRuntime& mpi, CrashReport& crashes, std::string name,
         std::string subcommand)
    : settings_(settings),
      options_(options),
      program_(program),
      mpi_(mpi),
      crashes_(crashes),
      subcommand_(std::move(subcommand)),
      watch_(settings.job, detect_batch_job([](const char* name) { return std::getenv(name); }), mpi.rank(), settings.started, mpi.log()),
      trainer_(settings.trainer, mpi, static_cast<uint64_t>(settings.run.seed_everything)),
      record_{.program = std::move(name), .subcommand = subcommand_, .config = options.write(/*linked=*/true)} {
  const bool writes = settings.trainer.fast_dev_run.batches == 0;
  add_default_callbacks(trainer_, writes);
  if (writes) folder_ = make_run_folder(mpi, settings.run, settings.runs, subcommand_, lock_);
  trainer_.set_default_root_dir(folder_);
  record_.job = watch_.job();
  trainer_.session().add_stop_source([this] {
    request_step_times();
    return watch_.reason(save_seconds());
  });
  crashes.agree_by(&communicator());
  check_placement(trainer_, mpi);
  if (folder_.empty()) return;
  check_run_folder(trainer_, mpi, folder_, subcommand_ == "fit" ? settings.run.checkpoint_dir : std::filesystem::path(), watch_.job());
  record_.previous = broadcast_text(mpi.communicator(), mpi.rank() == 0 ? read_run_record(folder_ / "run.json") : std::string());
  crashes.record_in(folder_ / "run.json", begin_of_record(record_, mpi.size()));
}

int Job::run() {
  const auto& log = mpi_.log();
  start_watchdog();
  log.info("{}", trainer_.session().topology().describe());
  auto checkpoint = find_checkpoint();
  const auto init_from = open_init_from(checkpoint.get());
  const InitialWeights init{init_from.get(), settings_.run.init_rename, settings_.run.init_exclude, settings_.run.init_convert_fp8};
  // A refused attempt must not change the config of an earlier one.
  if (subcommand_ == "fit")
    trainer_.add_callback(std::make_shared<LambdaCallback>(
        LambdaHooks{.on_fit_start = [this](Trainer&, Module&) { check_checkpoint_folders(trainer_, mpi_); },
                    .on_train_start = [this](Trainer&, Module&) { begin_training(); }}));
  std::error_code unseen;
  if (subcommand_ != "fit" || (!checkpoint && !std::filesystem::exists(folder_ / "config.yaml", unseen))) write_config();
  if (!folder_.empty()) trainer_.add_loggers(folder_);
  if (settings_.optimizer || settings_.lr_scheduler) trainer_.replace_optimizer(settings_.optimizer, settings_.lr_scheduler);
  const auto data = call_hook("the constructor of the data module", [&] { return program_.make_data(); });
  if (options_.has_late_links()) apply_links(*data);
  if (trainer_.config().enable_autolog_hparams) trainer_.log_hyperparams(to_yaml(settings_.as_given));
  const auto module = call_hook("the constructor of the model", [&] { return program_.make_module(trainer_); });
  LoadFrom from{.checkpoint = checkpoint.get(),
                .strict = settings_.run.ckpt_strict,
                .init = init.source ? &init : nullptr,
                .instead = [&](const CheckpointReader& damaged, const std::string& why) {
                  checkpoint = another_checkpoint(damaged, why);
                  return checkpoint.get();
                }};
  from.of_this_run = checkpoint && is_of_this_run(*checkpoint);
  from.tested = checkpoint && was_tested();
  subcommand_ == "fit" ? fit(*module, *data, from) : evaluate(*module, *data, from);
  const JobEnd end = agree_on_end();
  finish(end.code);
  watchdog_.reset();  // a requeue kills all ranks
  if (end.requeue && mpi_.rank() == 0) requeue_job(watch_.job(), log);
  return end.code;
}

void Job::failed(const std::string& message, int code) noexcept {
  if (folder_.empty()) return;
  try {
    write_run_record(folder_ / "run.json", record_, trainer_, {}, message, code);
  } catch (const std::exception&) {  // the first error is the one to report
  }
}

void Job::finalize_loggers() noexcept {
  try {
    trainer_.finalize_loggers();
  } catch (const std::exception&) {  // the first error is the one to report
  }
}

void Job::write_config() const {
  if (mpi_.rank() == 0 && !folder_.empty()) write_text(folder_ / "config.yaml", to_yaml(settings_.as_given));
}

// Called when nothing can refuse the attempt any more: from now on the run is this training. A killed job leaves a record without an exit.
// Every rank prepares the record, because the rank that fails first writes it. No rank trains before rank 0 has written, so that no error
// is overwritten.
void Job::begin_training() {
  if (folder_.empty()) return;
  const bool restarts = watch_.job().exists() && !watch_.job().interactive && settings_.job.requeue != Requeue::none;
  if (restarts && mpi_.rank() == 0 && !named_folder(settings_.run, settings_.runs))
    mpi_.log().warning("[cluster] the run has no name, so that a restart of the job begins a new one; give --run_name or --run_dir");
  record_.job.restart_count = broadcast_value(communicator(), watch_.job().restart_count);
  record_.first_step = trainer_.global_step();
  for (const auto& folder : trainer_.checkpoints().resumable_folders())
    record_.checkpoint_folders.push_back(relative_to_run(folder, folder_));
  for (const auto& abandoned : trainer_.checkpoints().abandoned()) record_.abandoned.push_back(relative_to_run(abandoned, folder_));
  on_all_ranks(communicator(), "cli", [&] {
    write_config();
    if (mpi_.rank() == 0) write_run_record(folder_ / "run.json", record_, trainer_, {}, "running", std::nullopt);
  });
  crashes_.record_in(folder_ / "run.json", begin_of_record(record_, mpi_.size()));
}

// Collective: rank 0 looks.
bool Job::is_of_this_run(const CheckpointReader& checkpoint) {
  const auto run_folder = named_folder(settings_.run, settings_.runs);
  return broadcast_value(communicator(), mpi_.rank() == 0 && run_folder && holds_checkpoint(*run_folder, checkpoint.path()));
}

// Whether the previous attempt also completed the test after the training.
bool Job::was_tested() {
  const bool tested =
      mpi_.rank() == 0 && settings_.trainer.test_after_fit && ended_well(record_.previous, "trainer.test_after_fit", "true");
  const bool tested_before = broadcast_value(communicator(), tested);
  tests_ = settings_.trainer.test_after_fit && !tested_before;
  return tested_before;
}

// The checkpoint that the training resumes from, or whose weights are evaluated.
std::unique_ptr<CheckpointReader> Job::find_checkpoint() {
  if (settings_.trainer.fast_dev_run.batches > 0) return nullptr;
  const auto& log = mpi_.log();
  auto found = cli::find_checkpoint(effective_ckpt_path(settings_.run, subcommand_), named_folder(settings_.run, settings_.runs),
                                    communicator(), log);
  if (!found) {
    if (subcommand_ != "fit" && settings_.run.init_from.empty() && mpi_.rank() == 0)
      log.warning("[cli] {} evaluates a newly initialized model; load weights with --ckpt_path", subcommand_);
    return found;
  }
  if (subcommand_ == "fit" && settings_.before) compare_configs(*settings_.before, settings_.as_given, settings_.run.resume_allow, log);
  log.info("[cli] {} {}: step {}, epoch {}", subcommand_ == "fit" ? "resumes from" : "uses", found->path().string(), found->manifest().step,
           found->manifest().epoch);
  record_.resumed_from = found->path().string();
  return found;
}

// Replaces a checkpoint that was found corrupt during loading, before the training starts.
std::unique_ptr<CheckpointReader> Job::another_checkpoint(const CheckpointReader& corrupt, const std::string& why) {
  const auto& log = mpi_.log();
  auto found = cli::another_checkpoint(effective_ckpt_path(settings_.run, subcommand_), named_folder(settings_.run, settings_.runs),
                                       corrupt.path(), why, communicator(), log);
  if (!found) return found;
  if (mpi_.rank() == 0) log.warning("[checkpoint] skipped: {}", why);
  log.info("[cli] {} {} instead: step {}, epoch {}", subcommand_ == "fit" ? "resumes from" : "uses", found->path().string(),
           found->manifest().step, found->manifest().epoch);
  record_.resumed_from = found->path().string();
  return found;
}

std::unique_ptr<TensorSource> Job::open_init_from(const CheckpointReader* checkpoint) {
  const auto& path = settings_.run.init_from;
  if (!checkpoint) return cli::open_init_from(path, communicator(), settings_.run.init_convert_fp8);
  if (!path.empty()) mpi_.log().info("[cli] init_from {} is not used: the weights come from the checkpoint", path.string());
  return nullptr;
}

void Job::fit(Module& module, DataModule& data, const LoadFrom& from) {
  if (const auto steps = settings_.job.stop_after_steps) trainer_.add_callback(std::make_shared<StopAfterSteps>(*steps));
  if (!folder_.empty() && trainer_.config().logger.enabled())
    trainer_.add_callback(std::make_shared<TimingsRecorder>(folder_ / "timings.csv"));
  trainer_.fit(module, data, from);
}

void Job::evaluate(Module& module, DataModule& data, const LoadFrom& from) {
  if (subcommand_ == "validate") trainer_.validate(module, data, from);
  if (subcommand_ == "test") trainer_.test(module, data, from);
  if (subcommand_ == "predict") trainer_.predict(module, data, from);  // a callback writes them
}

// Sets up the data before the model, whose options are linked to them.
void Job::apply_links(DataModule& data) {
  data.attach(&trainer_);
  prepare_data(data, trainer_.session().topology(), communicator());
  data.setup(stage_of(subcommand_));
  options_.apply_late_links();
  record_.config = options_.write(/*linked=*/true);
}

void Job::start_watchdog() {
  watchdog_.emplace(WatchdogOptions{.hang_timeout = settings_.job.hang_timeout,
                                    .folder = folder_,
                                    .describe_stack = describe_stack,
                                    .end_job =
                                        [this](const std::string& message) {
                                          end_hung_job(mpi_, communicator(), message,
                                                       [this](const std::string& reason, int code) { failed(reason, code); });
                                        }},
                    trainer_.session().communicator(), trainer_.session().topology());
}

// Rank 0 asks; the request travels with the step.
void Job::request_step_times() {
  const auto& interval = settings_.job.straggler_interval;
  if (mpi_.rank() != 0 || mpi_.size() == 1 || !interval || interval->value == 0) return;
  const auto now = std::chrono::steady_clock::now();
  if (std::chrono::duration<double>(now - compared_).count() < interval->value) return;
  compared_ = now;
  trainer_.session().request_step_times();
}

double Job::save_seconds() {
  if (const double slowest = trainer_.checkpoints().slowest_save_seconds(); slowest > 0) return slowest;
  constexpr double cautious_bytes_per_second = 200e6;  // before the first save
  auto& session = trainer_.session();
  return static_cast<double>(session.strategy().memory().peak()) * session.size() / cautious_bytes_per_second;
}

// After the save. Rank 0 decides: it knows the deadline, and asks the batch system.
JobEnd Job::agree_on_end() {
  auto& session = trainer_.session();
  if (!session.must_exit()) return {};
  session.exchange_requests();  // a signal that arrived during the save counts on all ranks
  int64_t causes = 0;
  for (const int64_t of_rank : all_gather_value(communicator(), watch_.causes())) causes |= of_rank;
  record_.stopped_by = JobWatch::describe(causes);
  JobEnd end;
  if (mpi_.rank() == 0) {
    const bool fits = subcommand_ == "fit";
    const auto& checkpoints = trainer_.checkpoints();
    const bool has_end = trainer_.report().already_complete || checkpoints.has_end(checkpoints.folder());
    const StopFacts facts{.interrupted = session.stops_for(StopReason::interrupted),
                          .terminated = session.stops_for(StopReason::terminated),
                          .announced = JobWatch::announced_end(causes),
                          .resumable = !fits || checkpoints.saved_for_stop() || has_end,
                          .checkpointing = !checkpoints.folder().empty(),
                          .named = named_folder(settings_.run, settings_.runs).has_value(),
                          .first_step = record_.first_step,
                          .last_step = fits ? trainer_.global_step() : 0,
                          .seconds_left = watch_.seconds_left(),
                          .seconds_needed = watch_.seconds_needed(),
                          .earlier = attempts_in(record_.previous, subcommand_)};
    end = decide_job_end(facts, settings_.job, watch_.job(), ask_job_status(watch_.job()));
    if (!end.note.empty()) mpi_.log().warning("[cluster] {}", end.note);
  }
  end.code = broadcast_value(communicator(), end.code);
  return end;
}

// Relative if it lies below the initial working directory.
std::string Job::folder_for_reader() const {
  const auto below = folder_.lexically_relative(settings_.directory);
  return (below.empty() || *below.begin() == ".." ? folder_ : below).string();
}

void Job::finish(int code) {
  const double peak = peak_bytes_of_all(communicator());
  if (mpi_.rank() != 0) return;
  trainer_.finalize_loggers();
  const auto& report = trainer_.report();
  const bool did_nothing = report.already_complete && !tests_;
  record_.job = watch_.job();
  if (!folder_.empty() && !did_nothing) write_run_record(folder_ / "run.json", record_, trainer_, peak, report.stop_reason, code);
  for (const auto& [name, value] : report.metrics) fmt::print("{} {}\n", name, value_text(value, 6));
  if (report.samples > 0)
    fmt::print("{:.0f} samples/s in training, {} steps, {}\n", report.samples_per_second(), report.steps,
               trainer_.session().strategy().describe());
  if (report.skipped_steps > 0) fmt::print("{} steps were skipped: their gradients were not finite\n", report.skipped_steps);
  if (report.stop_reason != "finished")
    fmt::print("ended: {}{}{}\n", report.stop_reason, record_.stopped_by.empty() ? "" : ": ", record_.stopped_by);
  if (trainer_.session().must_exit() && trainer_.checkpoints().saved_for_stop())
    fmt::print("the state is saved; to resume, start the program with --run_dir {}\n", folder_for_reader());
  if (!folder_.empty()) fmt::print("files of the run: {}\n", folder_for_reader());
  std::fflush(stdout);
}

}  // namespace levin::cli
