#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "levin/core/environment.h"
#include "sweep_config.h"

namespace levin::sweep {

struct Host {
  std::string name;
  int64_t slots = 0;  ///< ranks that it holds
  int64_t cores = 0;
};

/// Where one configuration trains: a part of a host, or whole hosts.
struct Group {
  std::vector<Host> hosts;  ///< with the slots that are the group's
  int64_t first_slot = 0;   ///< on its host, if it has one
  bool whole = true;        ///< it has all slots of its hosts
};

/// The slots of SLURM_TASKS_PER_NODE, "2(x3),1" is 2, 2, 2, 1; nothing for other text.
std::optional<std::vector<int64_t>> slurm_slots(std::string_view text);

/// Divides hosts into groups of `ranks`: several on a host, or whole hosts with equally many slots each. ConfigError if none fits.
std::vector<Group> divide_hosts(const std::vector<Host>& hosts, int64_t ranks);

/// Starts programs on groups of an allocation.
class Launcher {
 public:
  /// Finds launcher and hosts in the configuration, Slurm's and PBS's environment; without a batch system this host. ConfigError.
  Launcher(const SweepConfig& config, const GetVariable& get_variable);

  const std::vector<Group>& groups() const noexcept { return groups_; }
  /// The launcher with its options, before the program.
  std::vector<std::string> words(const Group& group) const;

 private:
  std::vector<std::string> srun_words(const Group& group) const;
  std::vector<std::string> mpirun_words(const Group& group) const;

  int64_t ranks_;
  int64_t slots_ = 0, tasks_ = 0;  // of a node, at least: ranks as the sweep has them, and as Slurm
  bool srun_ = false;
  GetVariable get_variable_;
  std::vector<std::string> launcher_;
  std::vector<Group> groups_;
};

}  // namespace levin::sweep
