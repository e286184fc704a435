#include <fmt/format.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "../../src/cluster/command.h"
#include "doctor.h"

namespace levin::doctor {
namespace {

using namespace std::chrono_literals;

struct Trial {
  const char* in_environment;  // null: it works anywhere; else it would wait for an allocation without this variable
  std::vector<std::string> words;
};

}  // namespace

LauncherTrial try_launchers() {
  const std::vector<Trial> trials{{nullptr, {"mpirun", "-n", "2"}},
                                  {"SLURM_JOB_ID", {"srun", "-n", "2"}},
                                  {"SLURM_JOB_ID", {"srun", "--mpi=pmix", "-n", "2"}},
                                  {"FLUX_URI", {"flux", "run", "-n", "2"}}};
  LauncherTrial result;
  std::error_code unseen;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", unseen).string();
  for (const auto& [variable, launcher] : trials) {
    if (variable && !std::getenv(variable)) continue;
    auto words = launcher;
    words.insert(words.end(), {self, "--count_ranks"});
    const auto answer = levin::detail::run_command(words, 8s);
    if (!answer.started) continue;  // it is not installed
    result.tried = true;
    const bool works = answer.good() && answer.out == "2\n";
    result.works |= works;
    result.text += fmt::format("{}{}: {}", result.text.empty() ? "" : "\n", fmt::join(launcher, " "),
                               works           ? "works"
                               : answer.good() ? "starts ranks that do not see each other: it belongs to another MPI"
                                               : answer.failure());
  }
  if (!result.tried) result.text = "none found";
  return result;
}

}  // namespace levin::doctor
