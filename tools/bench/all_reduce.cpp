// All-reduce of fp32 sums inside a node: ours, on memory from allocate(), against MPI_Allreduce on MPI's own buffers (out of place and
// MPI_IN_PLACE; the better one counts). Both sides in turn in one run; a trial's time is the slowest rank's, a line's the median.
//   mpirun -n 2 build/tools/bench/all_reduce [--json FILE] [--trials N]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/comm/node_group.h"
#include "levin/core/number_text.h"

namespace {

struct Options {
  std::string json;
  int trials = 200;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!std::strcmp(argv[i], "--json")) options.json = argv[i + 1];
    if (!std::strcmp(argv[i], "--trials")) options.trials = levin::parse_number<int>(argv[i + 1]).value();
  }
  return options;
}

/// MPI's own buffers.
struct MpiBuffer {
  explicit MpiBuffer(size_t bytes) { levin::check_mpi(MPI_Alloc_mem(static_cast<MPI_Aint>(bytes), MPI_INFO_NULL, &data), "MPI_Alloc_mem"); }
  ~MpiBuffer() { MPI_Free_mem(data); }
  MpiBuffer(const MpiBuffer&) = delete;
  MpiBuffer& operator=(const MpiBuffer&) = delete;
  void* data = nullptr;
};

double median(std::vector<double> times) {
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

/// Medians in microseconds of all sides, which take turns.
std::vector<double> race(const levin::MpiRuntime& mpi, levin::NodeGroup& group, const std::vector<std::function<void()>>& sides,
                         int trials) {
  const size_t count = static_cast<size_t>(trials);
  std::vector<std::vector<double>> times(sides.size(), std::vector<double>(count));
  const int warm_up = 5;
  for (int trial = -warm_up; trial < trials; trial++)
    for (size_t side = 0; side < sides.size(); side++) {
      group.barrier();
      const auto start = std::chrono::steady_clock::now();
      sides[side]();
      const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
      if (trial >= 0) times[side][static_cast<size_t>(trial)] = time.count();
    }
  std::vector<double> medians;
  for (auto& samples : times) {
    levin::check_mpi(MPI_Allreduce(MPI_IN_PLACE, samples.data(), trials, MPI_DOUBLE, MPI_MAX, mpi.communicator()), "MPI_Allreduce");
    medians.push_back(median(samples));
  }
  return medians;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  setenv("OMPI_MCA_mpi_yield_when_idle", "0", 0);  // MPI at its fastest
  levin::MpiRuntime mpi;
  auto ours = levin::Communicator::create_cpu(mpi);
  std::FILE* json = mpi.rank() == 0 && !options.json.empty() ? std::fopen(options.json.c_str(), "w") : nullptr;
  if (mpi.rank() == 0)
    std::printf("%10s %10s %10s %8s   (%d ranks, bytes, us, MPI's time to ours)\n", "size", "ours_us", "mpi_us", "ratio", mpi.size());
  for (const int64_t kib : {4, 32, 256, 1024, 4096, 32768, 65536}) {
    const int64_t bytes = kib * 1024, numel = bytes / 4;
    const int trials = std::max(20, std::min(options.trials, static_cast<int>(options.trials * int64_t{16384} / kib)));
    const auto tensor = ours->allocate(numel, at::kFloat);
    MpiBuffer in(static_cast<size_t>(bytes)), out(static_cast<size_t>(bytes)), both(static_cast<size_t>(bytes));
    for (void* data : {in.data, out.data, both.data}) std::memset(data, 0, static_cast<size_t>(bytes));
    const auto medians =
        race(mpi, *ours->node(),
             {[&] { ours->all_reduce(tensor).wait(); },
              [&] { MPI_Allreduce(in.data, out.data, static_cast<int>(numel), MPI_FLOAT, MPI_SUM, mpi.communicator()); },
              [&] { MPI_Allreduce(MPI_IN_PLACE, both.data, static_cast<int>(numel), MPI_FLOAT, MPI_SUM, mpi.communicator()); }},
             trials);
    if (mpi.rank() != 0) continue;
    const double theirs = std::min(medians[1], medians[2]);
    std::printf("%10ld %10.2f %10.2f %8.2f\n", static_cast<long>(bytes), medians[0], theirs, theirs / medians[0]);
    std::fflush(stdout);
    if (json)
      std::fprintf(json,
                   "{\"bench\": \"all_reduce\", \"ranks\": %d, \"bytes\": %ld, \"trials\": %d, \"ours_us\": %.3f, \"mpi_us\": %.3f}\n",
                   mpi.size(), static_cast<long>(bytes), trials, medians[0], theirs);
  }
  if (json) std::fclose(json);
}
