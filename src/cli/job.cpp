#include "job.h"

#include <fmt/core.h>

#include <cstdio>

#include "../trainer/prepare_data.h"
#include "components.h"
#include "levin/callbacks/lambda_callback.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/number_text.h"
#include "levin/core/whereabouts.h"
#include "predictions.h"
#include "resume.h"

namespace levin::cli {
namespace {

Stage stage_of(const std::string& subcommand) {
  for (Stage stage : {Stage::validate, Stage::test, Stage::predict})
    if (subcommand == stage_name(stage)) return stage;
  return Stage::fit;
}

template <class Make>
auto made(const char* what, const Make& make) {
  const InHook here(what);
  return make();
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
      trainer_(settings.trainer, mpi, static_cast<uint64_t>(settings.run.seed_everything)),
      record_{.program = std::move(name), .subcommand = subcommand_, .config = options.write(/*linked=*/true)} {
  const bool writes = settings.trainer.fast_dev_run.batches == 0;
  add_default_callbacks(trainer_, writes);
  if (writes) folder_ = make_run_folder(mpi, settings.run, settings.runs, subcommand_, lock_);
  trainer_.set_default_root_dir(folder_);
  crashes.agree_by(&communicator());
  if (!folder_.empty()) crashes.record_in(folder_ / "run.json", begin_of_record(record_, mpi.size()));
}

int Job::run() {
  const auto& log = mpi_.log();
  log.info("{}", trainer_.session().topology().describe());
  auto checkpoint = find_checkpoint();
  const auto init_from = open_init_from(checkpoint.get());
  const InitialWeights init{init_from.get(), settings_.run.init_rename, settings_.run.init_exclude};
  if (subcommand_ == "fit" && checkpoint)  // a checkpoint that is refused leaves the run's config unchanged
    trainer_.add_callback(std::make_shared<LambdaCallback>(LambdaHooks{.on_train_start = [this](Trainer&, Module&) { write_config(); }}));
  else
    write_config();
  if (!folder_.empty()) trainer_.add_loggers(folder_);
  if (settings_.optimizer || settings_.lr_scheduler) trainer_.replace_optimizer(settings_.optimizer, settings_.lr_scheduler);
  const auto data = made("the constructor of the data module", [&] { return program_.make_data(); });
  if (options_.has_late_links()) apply_links(*data);
  trainer_.log_hyperparams(to_yaml(settings_.as_given));
  const auto module = made("the constructor of the model", [&] { return program_.make_module(trainer_); });
  const LoadFrom from{checkpoint.get(), settings_.run.ckpt_strict, init.source ? &init : nullptr,
                      [&](const CheckpointReader& damaged, const std::string& why) {
                        checkpoint = another_checkpoint(damaged, why);
                        return checkpoint.get();
                      }};
  subcommand_ == "fit" ? fit(*module, *data, from) : evaluate(*module, *data, from);
  const auto& session = trainer_.session();
  const int code = session.stops_for(StopReason::interrupted)  ? static_cast<int>(ExitCode::interrupted)
                   : session.stops_for(StopReason::terminated) ? 143
                   : !session.stops_for(StopReason::restart)   ? 0
                   : trainer_.checkpoints().saved_for_stop()   ? static_cast<int>(ExitCode::stopped_early)
                                                               : static_cast<int>(ExitCode::io_failed);
  finish(code);
  return code;
}

void Job::failed(const std::string& message, int code) noexcept {
  if (folder_.empty()) return;
  try {
    write_run_record(folder_ / "run.json", record_, trainer_, {}, message, code);
  } catch (const std::exception&) {  // the first error is the one to report
  }
}

void Job::write_config() const {
  if (mpi_.rank() == 0 && !folder_.empty()) write_text(folder_ / "config.yaml", to_yaml(settings_.as_given));
}

// The checkpoint to resume from, or whose weights are evaluated.
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
  return found;
}

// In place of one found corrupt while it was loaded, before the training has seen anything of it.
std::unique_ptr<CheckpointReader> Job::another_checkpoint(const CheckpointReader& damaged, const std::string& why) {
  const auto& log = mpi_.log();
  auto found = cli::another_checkpoint(effective_ckpt_path(settings_.run, subcommand_), damaged.path(), why, communicator(), log);
  if (!found) return found;
  if (mpi_.rank() == 0) log.warning("[checkpoint] skipped: {}", why);
  log.info("[cli] {} {} instead: step {}, epoch {}", subcommand_ == "fit" ? "resumes from" : "uses", found->path().string(),
           found->manifest().step, found->manifest().epoch);
  return found;
}

std::unique_ptr<TensorSource> Job::open_init_from(const CheckpointReader* checkpoint) {
  const auto& path = settings_.run.init_from;
  if (!checkpoint) return cli::open_init_from(path, communicator());
  if (!path.empty()) mpi_.log().info("[cli] init_from {} is not used: the weights come from the checkpoint", path.string());
  return nullptr;
}

// Only a training has state to save when a signal comes.
void Job::fit(Module& module, DataModule& data, const LoadFrom& from) {
  trainer_.add_callback(signals_.emplace().callback());
  if (const auto steps = settings_.job.stop_after_steps) trainer_.add_callback(std::make_shared<StopAfterSteps>(*steps));
  trainer_.fit(module, data, from);
}

void Job::evaluate(Module& module, DataModule& data, const LoadFrom& from) {
  if (subcommand_ == "validate") trainer_.validate(module, data, from);
  if (subcommand_ == "test") trainer_.test(module, data, from);
  if (subcommand_ == "predict") {
    const auto predictions = trainer_.predict(module, data, from);
    if (!folder_.empty()) write_predictions(folder_ / "predictions.h5", predictions, trainer_.session().mesh());
  }
}

// The data are set up before the model, whose options are linked to them.
void Job::apply_links(DataModule& data) {
  data.attach(&trainer_);
  prepare_data(data, trainer_.session().topology(), communicator());
  data.setup(stage_of(subcommand_));
  options_.apply_late_links();
  record_.config = options_.write(/*linked=*/true);
}

// As it was given where it is below the directory of the start.
std::string Job::folder_for_reader() const {
  const auto below = folder_.lexically_relative(settings_.directory);
  return (below.empty() || *below.begin() == ".." ? folder_ : below).string();
}

void Job::finish(int code) {
  const double peak = peak_bytes_of_all(communicator());
  if (mpi_.rank() != 0) return;
  trainer_.finalize_loggers();
  if (!folder_.empty()) write_run_record(folder_ / "run.json", record_, trainer_, peak, trainer_.report().stop_reason, code);
  const auto& report = trainer_.report();
  for (const auto& [name, value] : report.metrics) fmt::print("{} {}\n", name, value_text(value, 6));
  if (report.samples > 0)
    fmt::print("{:.0f} samples/s in training, {} steps, {}\n", report.samples_per_second(), report.steps,
               trainer_.session().strategy().describe());
  if (report.skipped_steps > 0) fmt::print("{} of the steps were skipped, since their gradients were not finite\n", report.skipped_steps);
  if (report.stop_reason != "finished") fmt::print("ended: {}\n", report.stop_reason);
  if (trainer_.session().told_to_end() && trainer_.checkpoints().saved_for_stop())
    fmt::print("the state is saved; to resume, start the program with --run_dir {}\n", folder_for_reader());
  if (!folder_.empty()) fmt::print("files of the run: {}\n", folder_for_reader());
  std::fflush(stdout);
}

}  // namespace levin::cli
