#pragma once
#include <fmt/format.h>

#include <fstream>
#include <string>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/trainer/trainer.h"

namespace levin::detail {

/// Writes the trials of a search, as CSV, to a file in the run's folder, on rank 0; a run without a folder has no such file. Collective.
/// IoError on all ranks.
inline void write_trial_table(Trainer& trainer, const char* name, const std::string& table) {
  if (trainer.default_root_dir().empty()) return;
  auto& session = trainer.session();
  on_all_ranks(session.communicator(), "callbacks", [&] {
    if (session.rank() != 0) return;
    const auto path = trainer.default_root_dir() / name;
    std::ofstream file(path);
    file << table;
    if (!file.flush()) throw IoError(fmt::format("cannot write {}", path.string()), "check whether the file system is full", "callbacks");
  });
}

}  // namespace levin::detail
