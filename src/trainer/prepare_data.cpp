#include "prepare_data.h"

#include <ATen/ops/tensor.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "levin/core/error.h"
#include "levin/core/whereabouts.h"

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

bool hosts_share(const std::filesystem::path& directory, const Topology& topology, Communicator& ranks) {
  Communicator& communicator = ranks.host();
  std::optional<Probe> probe;
  // Two jobs on two hosts may have the same process number, or the same time, hardly both.
  const Tensor number = at::tensor(
      {static_cast<int64_t>(std::chrono::system_clock::now().time_since_epoch().count() ^ (static_cast<int64_t>(getpid()) << 40))},
      at::kLong);
  if (communicator.rank() == 0) probe.emplace(directory, number.item<int64_t>());
  communicator.broadcast(number, 0).wait();
  const bool leader = topology.self().local_rank == 0;
  std::error_code none;
  const Tensor blind = at::tensor({leader && !std::filesystem::exists(Probe::path(directory, number.item<int64_t>()), none)}, at::kLong);
  communicator.all_reduce(blind).wait();
  return blind.item<int64_t>() == 0;
}

void prepare_data(DataModule& data, const Topology& topology, Communicator& communicator) {
  bool per_node = false;
  if (topology.hosts() > 1) {
    const auto directory = data.prepare_data_directory();
    const auto wish = data.prepare_data_per_node();
    per_node = wish ? *wish : !directory.empty() && !hosts_share(directory, topology, communicator);
  }
  if (communicator.rank() == 0 || (per_node && topology.self().local_rank == 0)) {
    const InHook here("prepare_data", &typeid(data));
    data.prepare_once();
  }
  communicator.barrier();
}

}  // namespace levin
