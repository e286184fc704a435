// Saves and loads of a state of fp32 tensors, each rank a half (or its part) of every tensor: against one raw file a rank, and, for a save
// in the background, against memcpy of the same bytes into memory that is there. All sides in turn; medians of the slowest rank's times.
//   mpirun -n 2 build/tools/bench/checkpoint FOLDER [--mib 512] [--tensors 200] [--trials 7] [--fsync]
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"

namespace {

struct Options {
  std::string folder;
  int64_t mib = 512, tensors = 200, trials = 7;
  bool fsync = false;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i++) {
    const std::string word = argv[i];
    int64_t* number = word == "--mib"       ? &options.mib
                      : word == "--tensors" ? &options.tensors
                      : word == "--trials"  ? &options.trials
                                            : nullptr;
    if (number && i + 1 < argc)
      *number = std::atoll(argv[++i]);
    else if (word == "--fsync")
      options.fsync = true;
    else
      options.folder = word;
  }
  return options;
}

double slowest(const levin::MpiRuntime& mpi, double seconds) {
  levin::check_mpi(MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, mpi.communicator()), "MPI_Allreduce");
  return seconds;
}

double time_of(const levin::MpiRuntime& mpi, const std::function<void()>& side) {
  levin::check_mpi(MPI_Barrier(mpi.communicator()), "MPI_Barrier");
  const auto start = std::chrono::steady_clock::now();
  side();
  return slowest(mpi, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

double median(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void write_raw(const std::string& path, const std::vector<float>& data, const levin::CheckpointState& state, bool sync) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool good = file >= 0;
  for (const auto& piece : state.pieces) {
    const auto bytes = static_cast<size_t>(piece.end - piece.begin) * sizeof(float);
    good = good && write(file, piece.data, bytes) == static_cast<ssize_t>(bytes);
  }
  good = good && (!sync || fsync(file) == 0) && close(file) == 0;
  if (!good || data.empty()) std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  if (options.folder.empty()) return 2;
  levin::MpiRuntime mpi;
  const auto communicator = levin::Communicator::create_cpu(mpi);
  const int rank = mpi.rank(), ranks = mpi.size();
  const int64_t part = (options.mib << 20) / options.tensors / 4096 / ranks * 1024;  // elements of each tensor a rank
  std::vector<float> data(static_cast<size_t>(part * options.tensors), static_cast<float>(rank + 1)), loaded(data.size(), 0);
  levin::CheckpointState state;
  for (int64_t i = 0; i < options.tensors; i++) {
    const auto name = "model/layer" + std::to_string(i) + ".weight";
    state.tensors.push_back({name, c10::ScalarType::Float, {part * ranks / 1024, 1024}});
    state.pieces.push_back({name, rank * part, (rank + 1) * part, data.data() + i * part});
  }
  state.texts = {{"loops", "{}"}};
  const size_t bytes = data.size() * sizeof(float);
  auto* copy = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  madvise(copy, bytes, MADV_HUGEPAGE);
  std::memset(copy, 0, bytes);

  levin::CheckpointWriter writer(*communicator, options.folder, {.fsync = options.fsync});
  const std::string raw = options.folder + "/raw-" + std::to_string(rank);
  std::map<std::string, std::vector<double>> times;
  for (int64_t trial = 0; trial <= options.trials; trial++) {
    const auto note = [&](const std::string& name, double seconds) {
      if (trial > 0)
        times[name].push_back(seconds);
      else if (rank == 0 && name == "save")
        std::printf("first save, with HDF5's layout: %.1f ms\n", seconds * 1e3);
    };
    unlink(raw.c_str());  // both sides write new files
    note("one raw file a rank", time_of(mpi, [&] { write_raw(raw, data, state, options.fsync); }));
    const levin::CheckpointInfo info{.name = "trial-" + std::to_string(trial), .step = trial};
    note("save", time_of(mpi, [&] { writer.save(info, state); }));
    const std::string path = options.folder + "/" + info.name;
    note("load, verified", time_of(mpi, [&] {
           const levin::CheckpointReader reader(path, *communicator);
           for (int64_t i = 0; i < options.tensors; i++)
             reader.read(state.tensors[static_cast<size_t>(i)].name, rank * part, (rank + 1) * part, loaded.data() + i * part);
         }));
    if (loaded != data) return 1;
    note("memcpy", time_of(mpi, [&] { std::memcpy(copy, data.data(), bytes); }));
    note("save in the background returns", time_of(mpi, [&] { writer.save_async(info, state); }));
    writer.finish();
    note("xxh3", time_of(mpi, [&] { copy[0] = static_cast<char>(XXH3_64bits(data.data(), bytes)); }));
    if (rank == 0) std::system(("rm -rf " + path).c_str());
  }
  unlink(raw.c_str());
  if (rank == 0)
    for (const auto& [name, seconds] : times)
      std::printf("%-32s %7.1f ms, %.2f GB/s\n", name.c_str(), median(seconds) * 1e3,
                  static_cast<double>(bytes) * ranks / median(seconds) / 1e9);
  munmap(copy, bytes);
}
