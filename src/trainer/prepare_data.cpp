#include "prepare_data.h"

#include <unistd.h>

#include <chrono>
#include <fstream>

#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/core/trace_context.h"

namespace levin {
namespace {

// A file that is there for the time of a look.
class Probe {
 public:
  Probe(const std::filesystem::path& directory, int64_t number) : path_(path(directory, number)) {
    std::error_code ignored;
    std::filesystem::create_directories(directory, ignored);
    if (!std::ofstream(path_))
      throw IoError(fmt::format("cannot write {}, where prepare_data is to write", path_.string()),
                    "give prepare_data_directory() a directory that can be written to", "trainer");
  }
  ~Probe() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  static std::filesystem::path path(const std::filesystem::path& directory, int64_t number) {
    return directory / fmt::format(".levin-probe-{:x}", number);
  }

 private:
  std::filesystem::path path_;
};

}  // namespace

bool hosts_share(const std::filesystem::path& directory, const Topology& topology, Communicator& communicator) {
  std::optional<Probe> probe;
  // Two jobs on two hosts may have the same process number, or the same time, hardly both.
  auto number = static_cast<int64_t>(std::chrono::system_clock::now().time_since_epoch().count() ^ (static_cast<int64_t>(getpid()) << 40));
  if (communicator.rank() == 0) probe.emplace(directory, number);
  number = broadcast_value(communicator, number);
  const bool leader = topology.self().local_rank == 0;
  std::error_code none;
  const bool sees = !leader || std::filesystem::exists(Probe::path(directory, number), none);
  return all_min(communicator, sees ? 1 : 0) != 0;
}

void prepare_data(DataModule& data, const Topology& topology, Communicator& communicator) {
  const FlightRecord::Phase phase(communicator.cpu().node()->flight(), "prepare_data", /*unbounded=*/true);
  bool per_node = false;
  if (topology.hosts() > 1) {
    const auto directory = data.prepare_data_directory();
    const auto wish = data.prepare_data_per_node();
    per_node = wish ? *wish : !directory.empty() && !hosts_share(directory, topology, communicator);
  }
  if (communicator.rank() == 0 || (per_node && topology.self().local_rank == 0)) {
    const HookScope scope("prepare_data", &typeid(data));
    data.prepare_once();
  }
  communicator.barrier();
}

}  // namespace levin
