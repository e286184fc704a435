// levin-doctor: checks a machine for training: the start of ranks, their cores, memory, messages, arithmetic and files.
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <thread>

#include "../support/command_line.h"
#include "doctor.h"
#include "levin/cluster/launcher.h"
#include "levin/comm/thread_count.h"
#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"
#include "levin/core/version.h"
#include "levin/device/choose_device.h"

namespace {

namespace po = boost::program_options;
using levin::ConfigError, levin::ExitCode, levin::tools::Words;
using levin::doctor::Doctor, levin::doctor::Options, levin::doctor::Report;

constexpr const char* tag = "doctor";

const char* variable(const char* name) { return std::getenv(name); }

struct Request {
  std::string answer = {};  // print it, and end
  Options options = {};
  bool counts_ranks = false;  // for try_launchers
};

Request parse(const Words& words) {
  levin::tools::Program program{
      .name = "levin-doctor",
      .tag = tag,
      .usage =
          "levin-doctor [OPTION …]: checks the machine on which it runs for training. Start it as a job is started:\n"
          "  srun levin-doctor --directory $SCRATCH\n"
          "  mpirun -n 4 levin-doctor\n"
          "It prints a report and ends with 0, or with 1 if it has findings.\n",
      .options = po::options_description("options")};
  program.options.add_options()("directory", po::value<std::string>()->default_value("."), "whose files are written and read");
  program.options.add_options()("seconds", po::value<std::string>()->default_value("20"), "the longest that the checks may take");
  program.options.add_options()("accelerator", po::value<std::string>()->default_value("auto"), "as --trainer.accelerator: auto, cpu, gpu");
  program.options.add_options()("no_speed", "check only, measure nothing");
  program.hidden.add_options()("count_ranks", "");
  const auto line = read_command_line(words, program);
  Request request{.answer = line.answer};
  if (!request.answer.empty()) return request;
  if (!line.words.empty()) refuse_command_line(program, fmt::format("{} is one argument too many", levin::quote(line.words.front())));
  const auto& seconds = line.options["seconds"].as<std::string>();
  const auto number = levin::parse_number<double>(seconds);
  if (!number || !(*number >= 1 && *number <= 3600))
    refuse_command_line(program, fmt::format("--seconds: {} is not allowed, 1 to 3600 are", levin::quote(seconds)));
  request.options = {line.options["directory"].as<std::string>(), *number, line.options["accelerator"].as<std::string>(),
                     line.options.count("no_speed") == 0};
  request.counts_ranks = line.options.count("count_ranks") > 0;
  return request;
}

/// Ends the job when the checks take longer than they may: a network or a file system that does not answer.
class TimeLimit {
 public:
  TimeLimit(const levin::MpiRuntime& mpi, double seconds)
      : thread_([this, &mpi, seconds](const std::stop_token& stop) {
          // Rank 0 reports, if it can.
          const std::chrono::duration<double> limit(seconds + (mpi.rank() == 0 ? 0 : 2));
          std::unique_lock lock(mutex_);
          if (changed_.wait_for(lock, stop, limit, [&] { return stop.stop_requested(); }) || stop.stop_requested()) return;
          std::fprintf(stderr,
                       "[doctor] rank %d: the check of %s has not ended after %g s; allow more with --seconds, or look for the cause\n",
                       mpi.rank(), check_.load(), limit.count());
          std::fflush(stderr);
          mpi.end_job(static_cast<int>(ExitCode::rank_lost));
        }) {}
  void begin(const char* check) noexcept { check_ = check; }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::atomic<const char*> check_{"the start"};
  std::jthread thread_;
};

levin::ChosenDevice choose(const levin::AcceleratorRegistry& registry, const Options& options, const levin::MpiRuntime& mpi,
                           const levin::Topology& topology, std::string& problem) {
  try {
    return choose_device(registry, options.accelerator, mpi, topology);
  } catch (const ConfigError& error) {  // on all ranks
    problem = error.what();
    return {levin::make_cpu_accelerator(), c10::Device(c10::kCPU)};
  }
}

int examine(const Options& options, const levin::MpiRuntime& mpi, const std::optional<levin::doctor::LauncherTrial>& trial) {
  TimeLimit limit(mpi, options.seconds);
  const auto topology = levin::Topology::discover(mpi);
  std::string problem;
  const auto chosen = choose(levin::AcceleratorRegistry(), options, mpi, topology, problem);
  const auto communicator = chosen.accelerator->communicator(mpi, {}, chosen.device);
  Report report(*communicator, topology);
  Doctor doctor{options, mpi, topology, *communicator, *chosen.accelerator, chosen.device, report};
  if (mpi.rank() == 0)
    fmt::print("levin-doctor {}: {} rank{} on {} host{}\n\n", levin::version, mpi.size(), mpi.size() == 1 ? "" : "s", topology.hosts(),
               topology.hosts() == 1 ? "" : "s");
  if (!problem.empty()) report.finding(problem);
  if (trial) {
    report.line("launchers", trial->text);
    if (!trial->works) report.finding("launchers: none starts two ranks of this program that see each other");
  }
  limit.begin("the program");
  check_program(doctor);
  limit.begin("cores and memory");
  check_placement(doctor);
  check_memory(doctor);
  if (options.speed) {
    limit.begin("messages");
    measure_messages(doctor, 0.15 * options.seconds);
    limit.begin("the all-reduce");
    measure_all_reduce(doctor, 0.1 * options.seconds);
    limit.begin("matrix products");
    measure_products(doctor, 0.1 * options.seconds);
  }
  limit.begin("the directory");
  check_directory(doctor, 0.2 * options.seconds);
  return report.end();
}

}  // namespace

int main(int argc, char** argv) {
  const bool first = levin::launcher_rank(variable).value_or(0) == 0;
  try {
    const auto request = parse({argv + 1, argv + argc});
    if (!request.answer.empty()) {
      if (first) levin::tools::print(request.answer, tag);
      return 0;
    }
    levin::threads_of_environment(variable);  // refuses an invalid value
    const bool alone = !levin::started_by_launcher(variable);
    if (request.counts_ranks) {
      const levin::MpiRuntime mpi;
      if (mpi.rank() == 0) fmt::print("{}\n", mpi.size());
      return 0;
    }
    const auto trial = alone ? std::optional(levin::doctor::try_launchers()) : std::nullopt;
    try {
      levin::AcceleratorRegistry().create(request.options.accelerator);  // loads its plug-in before any other use of LibTorch
    } catch (const ConfigError&) {                                       // choose_device reports it, on all ranks
    }
    const levin::MpiRuntime mpi;
    try {
      return examine(request.options, mpi, trial);
    } catch (const levin::CommunicatorAborted&) {
      throw;
    } catch (const std::exception& error) {
      if (mpi.size() == 1) throw;
      std::fprintf(stderr, "rank %d: %s\n", mpi.rank(), error.what());
      mpi.end_job(static_cast<int>(ExitCode::internal));
    }
  } catch (const std::exception& error) {
    return first ? levin::tools::report_error(error) : levin::tools::exit_code_of(error);
  }
}
