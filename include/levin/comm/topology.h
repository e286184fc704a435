#pragma once
#include <string>
#include <vector>

namespace levin {

class MpiRuntime;

/// Where one rank lives.
struct RankPlace {
  int rank = 0;
  std::string host;
  int local_rank = 0;   ///< rank within its host
  int numa_domain = 0;  ///< of the cores it may use; -1 when they span several
  std::vector<int> cores;
};

/// The ranks of the job by host, NUMA domain and core.
class Topology {
 public:
  /// Collective over the runtime's communicator.
  static Topology discover(const MpiRuntime& runtime);

  const std::vector<RankPlace>& places() const noexcept { return places_; }
  const RankPlace& self() const noexcept { return places_[static_cast<size_t>(rank_)]; }
  int hosts() const noexcept { return hosts_; }
  int local_size() const noexcept { return local_size_; }
  /// The rank map, a line a host with equal placements grouped.
  std::string describe() const;

 private:
  std::vector<RankPlace> places_;
  int rank_ = 0, hosts_ = 1, local_size_ = 1;
};

}  // namespace levin
