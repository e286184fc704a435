#pragma once
#include <string>
#include <vector>

namespace levin {

class MpiRuntime;

/// The location of one rank.
struct RankLocation {
  int rank = 0;
  std::string host;
  int local_rank = 0;      ///< rank within its host
  int numa_domain = 0;     ///< domain of its cores; -1 if they span several
  std::vector<int> cores;  ///< cores that it may run on, as logical indices of hwloc
};

/// The ranks of the job by host, NUMA domain and core.
class Topology {
 public:
  /// Collective over the runtime's communicator.
  static Topology discover(const MpiRuntime& runtime);
  /// `locations` and `leaders` are in rank order; a leader is the first rank of a host (hosts may share a name).
  Topology(std::vector<RankLocation> locations, std::vector<int> leaders, int rank);

  const std::vector<RankLocation>& locations() const noexcept { return locations_; }
  const RankLocation& self() const noexcept { return locations_[static_cast<size_t>(rank_)]; }
  /// Number of hosts: sets of ranks that share memory.
  int hosts() const noexcept { return hosts_; }
  int local_size() const noexcept { return local_size_; }
  /// The rank map: one line per host; hosts with equal placements share a line.
  std::string describe() const;

 private:
  std::vector<RankLocation> locations_;
  std::vector<int> leaders_;
  int rank_ = 0, hosts_ = 1, local_size_ = 1;
};

}  // namespace levin
