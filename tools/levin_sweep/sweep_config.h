#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/config.h"
#include "levin/core/monitor_mode.h"

namespace levin::sweep {

enum class Method { grid, random, list };
LEVIN_ENUM(Method, (grid, "grid"), (random, "random"), (list, "list"))

/// A sweep file, but for its `parameters` and `configurations`.
struct SweepConfig {
  std::vector<std::string> program;
  std::filesystem::path sweep_dir;
  Method method = Method::grid;
  int64_t samples = 10;
  int64_t seed = 0;
  int64_t ranks = 1;
  int64_t parallel = 0;
  int64_t slots_per_node = 0;
  std::vector<std::string> launcher;
  std::string monitor;
  MonitorMode mode = MonitorMode::min;
};
LEVIN_CONFIG(SweepConfig, (program, "the program's command line, such as [build/job, fit, --config, job.yaml]"),
             (sweep_dir, "directory of the sweep, with a run directory of each configuration"),
             (method, "grid: all combinations of the parameters' values; random: samples of them; list: the configurations as listed"),
             (samples, "configurations of random", at_least(1)), (seed, "of random", at_least(0)),
             (ranks, "ranks of a configuration", at_least(1)),
             (parallel, "most configurations that train at a time; 0: as many as the allocation holds", at_least(0)),
             (slots_per_node, "ranks that a node holds; 0: as the batch system says, else its cores", at_least(0)),
             (launcher, "srun or mpirun with its options; empty: LEVIN_LAUNCH, else srun in a Slurm job, else mpirun"),
             (monitor, "metric of the table's order; empty: none"), (mode, "which of its values are better"))

/// One training: its name, and the options that differ, as the command line has them.
struct Configuration {
  std::string name;
  std::vector<std::pair<std::string, std::string>> options;
};

/// "model.width=2 model.dropout=0.5"
std::string options_text(const Configuration& configuration);

struct Sweep {
  SweepConfig config;
  std::vector<Configuration> configurations;  ///< in order; the same file gives the same, more samples of random add to the end
};

/// Reads a sweep file. Relative paths in it (sweep_dir) are relative to the working directory, as those of the program are. ConfigError.
Sweep read_sweep(const std::filesystem::path& file);

}  // namespace levin::sweep
