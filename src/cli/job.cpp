#include "job.h"

#include <ATen/ops/full.h>

#include <algorithm>
#include <cstdio>

#include "../trainer/prepare_data.h"
#include "components.h"
#include "levin/callbacks/lambda_callback.h"
#include "levin/checkpoint/checkpoint_reader.h"
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
  if (writes) folder_ = make_run_folder(mpi, settings.run, record_.program, subcommand_, lock_);
  trainer_.set_default_root_dir(folder_);
  crashes.agree_by(&communicator());
  if (!folder_.empty() && mpi.rank() == 0) record_.previous = read_run_record(folder_ / "run.json");
  if (!folder_.empty()) crashes.record_in(folder_ / "run.json", begin_of_record(record_, mpi.size()));
}

int Job::run() {
  const auto& log = mpi_.log();
  log.info("{}", trainer_.session().topology().describe());
  auto checkpoint = find_checkpoint();
  const auto init_from = open_init_from(checkpoint.get());
  const InitialWeights init{init_from.get(), settings_.run.init_rename, settings_.run.init_exclude};
  // A start that is refused leaves the config of an earlier one as it is.
  if (subcommand_ == "fit")
    trainer_.add_callback(std::make_shared<LambdaCallback>(LambdaHooks{.on_train_start = [this](Trainer&, Module&) { begin_training(); }}));
  std::error_code unseen;
  if (subcommand_ != "fit" || (!checkpoint && !std::filesystem::exists(folder_ / "config.yaml", unseen))) write_config();
  if (!folder_.empty()) trainer_.add_loggers(folder_);
  if (settings_.optimizer || settings_.lr_scheduler) trainer_.replace_optimizer(settings_.optimizer, settings_.lr_scheduler);
  const auto data = made("the constructor of the data module", [&] { return program_.make_data(); });
  if (options_.has_late_links()) apply_links(*data);
  trainer_.log_hyperparams(options_.to_yaml(/*comments=*/false));
  const auto module = made("the constructor of the model", [&] { return program_.make_module(trainer_); });
  LoadFrom from{.checkpoint = checkpoint.get(),
                .strict = settings_.run.ckpt_strict,
                .init = init.source ? &init : nullptr,
                .instead = [&](const CheckpointReader& damaged, const std::string& why) {
                  checkpoint = another_checkpoint(damaged, why);
                  return checkpoint.get();
                }};
  from.of_this_run = checkpoint && is_of_this_run(*checkpoint);
  from.tested = checkpoint && was_tested();
  trainer_.session().add_stop_source(&StopSignals::reason);
  signals_.emplace();
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
  } catch (const std::exception&) {  // the first error is the one to tell
  }
}

void Job::write_config() const {
  if (mpi_.rank() == 0 && !folder_.empty()) write_text(folder_ / "config.yaml", options_.to_yaml(/*comments=*/false));
}

// Nothing refuses the start any more: the run is this training from now on. One that is killed leaves a record without an exit.
void Job::begin_training() {
  write_config();
  if (mpi_.rank() != 0 || folder_.empty()) return;
  record_.first_step = trainer_.global_step();
  for (const auto& folder : trainer_.checkpoints().resumable_folders())
    record_.checkpoint_folders.push_back(std::filesystem::absolute(folder).string());
  for (const auto& abandoned : trainer_.checkpoints().abandoned()) record_.abandoned.push_back(abandoned.string());
  write_run_record(folder_ / "run.json", record_, trainer_, {}, "running", std::nullopt);
  crashes_.record_in(folder_ / "run.json", begin_of_record(record_, mpi_.size()));
}

bool Job::is_of_this_run(const CheckpointReader& checkpoint) const {
  const auto run_folder = named_folder(settings_.run, record_.program);
  const auto folders = run_folder ? checkpoint_folders(*run_folder) : std::vector<std::filesystem::path>();
  const auto holds = [&](const auto& folder) {
    std::error_code unseen;
    return std::filesystem::equivalent(folder, checkpoint.path().parent_path(), unseen);
  };
  return std::any_of(folders.begin(), folders.end(), holds);
}

// Whether the test after the training that was run before came to its end, too.
bool Job::was_tested() {
  const bool tested =
      mpi_.rank() == 0 && settings_.trainer.test_after_fit && ended_well(record_.previous, "trainer.test_after_fit", "true");
  const Tensor all = at::full({1}, tested ? 1.0 : 0.0, at::kDouble);
  communicator().broadcast(all, 0).wait();
  tests_ = settings_.trainer.test_after_fit && all.item<double>() == 0;
  return all.item<double>() != 0;
}

// Where a training resumes, or whose weights are evaluated.
std::unique_ptr<CheckpointReader> Job::find_checkpoint() {
  if (settings_.trainer.fast_dev_run.batches > 0) return nullptr;
  const auto& log = mpi_.log();
  auto found = cli::find_checkpoint(effective_ckpt_path(settings_.run, subcommand_), named_folder(settings_.run, record_.program),
                                    communicator(), log);
  if (!found) {
    if (subcommand_ != "fit" && settings_.run.init_from.empty() && mpi_.rank() == 0)
      log.warning("[cli] {} uses a newly made model; give --ckpt_path", subcommand_);
    return found;
  }
  if (subcommand_ == "fit" && settings_.before) compare_configs(*settings_.before, options_.write(), settings_.run.resume_allow, log);
  log.info("[cli] {} {}: step {}, epoch {}", subcommand_ == "fit" ? "resumes from" : "uses", found->path().string(), found->manifest().step,
           found->manifest().epoch);
  record_.resumed_from = found->path().string();
  return found;
}

// Of one that was damaged the training has seen nothing yet.
std::unique_ptr<CheckpointReader> Job::another_checkpoint(const CheckpointReader& damaged, const std::string& why) {
  const auto& log = mpi_.log();
  auto found = cli::another_checkpoint(effective_ckpt_path(settings_.run, subcommand_), named_folder(settings_.run, record_.program),
                                       damaged.path(), why, communicator(), log);
  if (!found) return found;
  if (mpi_.rank() == 0) log.warning("[checkpoint] passed over: {}", why);
  log.info("[cli] {} {} instead: step {}, epoch {}", subcommand_ == "fit" ? "resumes from" : "uses", found->path().string(),
           found->manifest().step, found->manifest().epoch);
  record_.resumed_from = found->path().string();
  return found;
}

std::unique_ptr<TensorSource> Job::open_init_from(const CheckpointReader* checkpoint) {
  const auto& path = settings_.run.init_from;
  if (!checkpoint) return cli::open_init_from(path, communicator());
  if (!path.empty()) mpi_.log().info("[cli] init_from {} is not used: the weights are the checkpoint's", path.string());
  return nullptr;
}

void Job::fit(Module& module, DataModule& data, const LoadFrom& from) {
  if (const auto steps = settings_.job.stop_after_steps) trainer_.add_callback(std::make_shared<StopAfterSteps>(*steps));
  trainer_.fit(module, data, from);
}

void Job::evaluate(Module& module, DataModule& data, const LoadFrom& from) {
  if (subcommand_ == "validate") trainer_.validate(module, data, from);
  if (subcommand_ == "test") trainer_.test(module, data, from);
  if (subcommand_ == "predict") {
    const auto predictions = trainer_.predict(module, data, from);
    if (!folder_.empty() && !trainer_.session().told_to_end()) write_predictions(folder_ / "predictions.h5", predictions, communicator());
  }
}

// The data are set up before the model, which needs what they know.
void Job::apply_links(DataModule& data) {
  data.attach(&trainer_);
  prepare_data(data, trainer_.session().topology(), communicator());
  data.setup(stage_of(subcommand_));
  options_.apply_late_links();
  record_.config = options_.write(/*linked=*/true);
}

void Job::finish(int code) {
  const double peak = peak_bytes_of_all(communicator());
  if (mpi_.rank() != 0) return;
  trainer_.finalize_loggers();
  const auto& report = trainer_.report();
  const bool did_nothing = report.already_complete && !tests_;
  if (!folder_.empty() && !did_nothing) write_run_record(folder_ / "run.json", record_, trainer_, peak, report.stop_reason, code);
  for (const auto& [name, value] : report.metrics) std::printf("%s %.6g\n", name.c_str(), value);
  if (report.samples > 0)
    std::printf("%.0f samples/s in training, %lld steps, %s\n", report.samples_per_second(), static_cast<long long>(report.steps),
                trainer_.session().strategy().describe().c_str());
  if (report.skipped_steps > 0)
    std::printf("%lld of the steps were skipped, since their gradients were not finite\n", static_cast<long long>(report.skipped_steps));
  if (report.stop_reason != "finished") std::printf("ended: %s\n", report.stop_reason.c_str());
  if (trainer_.session().told_to_end() && trainer_.checkpoints().saved_for_stop())
    std::printf("its state is saved; to resume, start it with --run_dir %s\n", folder_.c_str());
  if (!folder_.empty()) std::printf("files of the run: %s\n", folder_.c_str());
  std::fflush(stdout);
}

}  // namespace levin::cli
