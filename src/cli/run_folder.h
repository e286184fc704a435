#pragma once
#include <filesystem>
#include <string>

#include "levin/core/config.h"

namespace levin {
class MpiRuntime;
}

namespace levin::cli {

/// The ungrouped options of a program.
struct RunConfig {
  std::filesystem::path run_dir;
  std::string run_name;
  int64_t seed_everything = 0;
};
LEVIN_CONFIG(RunConfig, (run_dir, "folder for the run's files; empty: runs/PROGRAM/RUN_NAME"),
             (run_name, "what the run is called; empty: the next free number"), (seed_everything, "seed of everything random", at_least(0)))

/// Makes the folder of this run, the same on all ranks. IoError, on all ranks, when it cannot be made or written. Collective.
std::filesystem::path make_run_folder(MpiRuntime& mpi, const RunConfig& config, const std::string& program);

/// Replaces a file as a whole. IoError when it cannot be written.
void write_text(const std::filesystem::path& file, const std::string& text);

}  // namespace levin::cli
