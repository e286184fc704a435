#include "levin/cli/run.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "../data/stalled_loaders.h"
#include "components.h"
#include "crash_report.h"
#include "job.h"
#include "job_end.h"
#include "levin/cli/devices.h"
#include "levin/cli/yaml_reader.h"
#include "levin/cluster/core_binding.h"
#include "levin/cluster/launcher.h"
#include "levin/cluster/preflight.h"
#include "levin/cluster/stop_signals.h"
#include "levin/comm/thread_count.h"
#include "levin/core/text.h"
#include "levin/core/version.h"
#include "resume.h"

extern char** environ;

namespace levin::cli {
namespace {

ProgramOptions describe(const std::string& name, Settings& settings, const Program& program) {
  ProgramOptions options(name, version,
                         {{"fit", "train the model"},
                          {"validate", "evaluate on the validation data"},
                          {"test", "evaluate on the test data"},
                          {"predict", "write predictions for the test data"},
                          {"plan", "print memory, collectives and time of a training step on a cluster"}});
  options.add_group("trainer", "how to train", settings.trainer);
  program.add_groups(options);
  options.add_group("optimizer", "in place of the model's own optimizer", settings.optimizer);
  options.add_group("lr_scheduler", "in place of the model's own schedule", settings.lr_scheduler);
  options.add_group("job", "the batch job", settings.job);
  options.add_group("plan", "the cluster that `plan` is for", settings.plan);
  options.add(settings.run);
  return options;
}

const char* variable(const char* name) { return std::getenv(name); }

// Before MPI starts.
bool is_rank_zero() { return launcher_rank(variable).value_or(0) == 0; }

std::filesystem::path working_directory() {
  std::error_code error;
  auto directory = std::filesystem::current_path(error);
  if (error)
    throw IoError(fmt::format("cannot find the working directory: {}", error.message()), "start the program in a directory that exists",
                  "cli");
  return directory;
}

// `--run_name ""` usually comes from an unset shell variable; in a config file an empty name is valid.
void check_run_name(const ProgramCommand& command, const RunConfig& config) {
  const auto given = command.set.find("run_name");
  if (config.run_name.empty() && given != command.set.end() && given->second.origin && given->second.line == 0)
    throw ConfigError(fmt::format("{}: run_name is empty", given->second.text()), "give a name, or leave the option out");
}

// User code sees absolute paths only, so that it can change the working directory without moving files of the run.
void make_paths_absolute(Settings& settings, ProgramOptions& options) {
  options.make_paths_absolute(settings.directory);
  auto& path = settings.run.ckpt_path;
  if (!path.empty() && !is_ckpt_word(path)) path = (settings.directory / path).lexically_normal();
}

// "trainer.max_epochs 3", one option a line.
std::string option_lines(const ConfigValue& options) {
  std::string lines;
  for (const auto& [path, text] : flatten(options)) lines += fmt::format("{} {}\n", path, sanitized(text));
  return lines;
}

int run_job(const Settings& settings, ProgramOptions& options, const Program& program, MpiRuntime& mpi, CrashReport& crashes,
            const std::string& name, const std::string& subcommand) {
  std::unique_ptr<Job> job;
  try {
    job = std::make_unique<Job>(settings, options, program, mpi, crashes, name, subcommand);
  } catch (const std::exception& error) {
    return end_before_the_job(mpi, error);
  }
  try {
    return job->run();
  } catch (const std::exception& error) {
    job->finalize_loggers();
    return end_job(mpi, job->communicator(), error, [&job](const std::string& message, int code) { job->failed(message, code); });
  }
}

// Runs in one process; rank 0 runs it if there are several.
int plan(const Settings& settings, ProgramOptions& options, const Program& program) {
  try {
    if (is_rank_zero()) print_plan(settings.plan, settings.trainer, settings.optimizer, options, program);
    return 0;
  } catch (const std::exception& error) {
    return report(error.what(), exit_code_of(error));
  }
}

int run_ranks(int argc, const char* const* argv, const Program& program) {
  const std::string name = std::filesystem::path(argv[0]).filename();
  Settings settings;
  try {
    settings.trainer.callbacks.offer(known_callbacks(program));
    settings.trainer.logger.offer(known_loggers(program));
    settings.trainer.profiler.offer(known_profilers(program));
  } catch (const Error& error) {
    return report(error.what(), static_cast<int>(error.exit_code()));
  }
  ProgramOptions options = describe(name, settings, program);
  ProgramCommand command;
  RankStatus status;
  try {
    settings.directory = working_directory();
    settings.runs = settings.directory / "runs" / name;
    auto input = ProgramInput::from_main(argc, argv, environ);
    command = options.parse(input);
    check_run_name(command, settings.run);
    if (const auto base = command.subcommand.empty() || command.subcommand == "plan"
                              ? std::nullopt
                              : config_of_the_run(settings.run, settings.runs, command.subcommand)) {
      input.base_files = {*base};
      input.base_keys = [&command](const std::string& key) { return taken_over(key, command.subcommand); };
      settings.before = load_yaml(*base);
      command = options.parse(input);
    }
    if (command.subcommand.empty()) {
      if (is_rank_zero()) std::fputs(command.text.c_str(), stdout);
      return 0;
    }
    settings.as_given = options.write();
    make_paths_absolute(settings, options);
    if (command.subcommand == "plan") return plan(settings, options, program);
    if (settings.trainer.session.num_threads == 0) threads_of_environment(variable);  // refuses an invalid value on all ranks
    if (settings.trainer.devices.value.value_or(1) > 1 && !started_by_launcher(variable))
      throw explain_devices(*settings.trainer.devices.value, 1, {argv, argv + argc});
    AcceleratorRegistry().create(settings.trainer.session.accelerator);  // loads its plug-in before any other use of LibTorch
  } catch (const Error& error) {
    status = {error.exit_code(), error.what(), {}};
    if (!started_by_launcher(variable)) return report(error.what(), static_cast<int>(error.exit_code()));
  }

  const StopSignals signals(settings.job.stop_signals);  // until MPI has ended: a late signal changes no exit code
  MpiRuntime mpi;
  mpi.set_log(Log::to_stderr(mpi.rank()));
  CrashReport crashes(mpi.rank(), mpi.size());
  try {
    if (const std::string warning = check_launcher(mpi.size(), variable); !warning.empty() && mpi.rank() == 0)
      mpi.log().warning("{}", warning);
    if (status.code == ExitCode::finished && settings.trainer.devices.value.value_or(mpi.size()) != mpi.size())
      throw explain_devices(*settings.trainer.devices.value, mpi.size(), {argv, argv + argc});
  } catch (const Error& error) {
    if (status.code == ExitCode::finished) status = {error.exit_code(), error.what(), {}};
  }
  if (status.code == ExitCode::finished) {
    status.must_be_equal = {{"configuration", hash_text(to_yaml(settings.as_given))}};
    status.details = {{"configuration", option_lines(settings.as_given)}};
  }
  add_program_identity(mpi, status);
  const Agreement agreement = check_same_on_all_ranks(mpi, status);
  if (!agreement.good())
    return mpi.rank() == 0 ? report(agreement.message, static_cast<int>(agreement.code)) : static_cast<int>(agreement.code);
  if (settings.job.bind == BindRanks::automatic)
    if (const auto bound = bind_ranks(mpi, detect_batch_job(variable), variable); !bound.empty()) mpi.log().info("{}", bound);
  return run_job(settings, options, program, mpi, crashes, name, command.subcommand);
}

}  // namespace

int run_program(int argc, const char* const* argv, const Program& program) {
  const int code = run_ranks(argc, argv, program);
  if (!levin::detail::has_stalled_loaders()) return code;
  std::fflush(nullptr);
  std::_Exit(code);  // a thread that still reads would run into the end of what it uses
}

}  // namespace levin::cli
