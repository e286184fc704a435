#pragma once
#include <string>
#include <vector>

namespace levin {

class MpiRuntime;

/// Where one rank lives.
struct RankLocation {
  int rank = 0;
  std::string host;
  int local_rank = 0;      ///< rank within its host
  int numa_domain = 0;     ///< of the cores it may use; -1 when they span several
  std::vector<int> cores;  ///< that it may use, by hwloc's logical index
};

/// The ranks of the job by host, NUMA domain and core.
class Topology {
 public:
  /// Collective over the runtime's communicator.
  static Topology discover(const MpiRuntime& runtime);
  /// `locations` in rank order; `leaders` has for each the first rank of its host (hosts may share a name).
  Topology(std::vector<RankLocation> locations, std::vector<int> leaders, int rank);

  const std::vector<RankLocation>& locations() const noexcept { return locations_; }
  const RankLocation& self() const noexcept { return locations_[static_cast<size_t>(rank_)]; }
  /// Number of hosts: sets of ranks that share memory.
  int hosts() const noexcept { return hosts_; }
  int local_size() const noexcept { return local_size_; }
  /// The rank map: a line a host, hosts with equal placements on one line.
  std::string describe() const;

 private:
  std::vector<RankLocation> locations_;
  std::vector<int> leaders_;
  int rank_ = 0, hosts_ = 1, local_size_ = 1;
};

}  // namespace levin
