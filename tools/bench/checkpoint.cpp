// Checkpoints of 512 MB in some tensors, of which each rank has its part, without fsync; medians of some turns:
//   checkpoint save TENSORS FOLDER       all ranks into one file of named data sets, with checksums
//   checkpoint raw TENSORS FOLDER        each rank its bytes into its own file
//   checkpoint load TENSORS FOLDER       what `save` left there, verified, by any number of ranks
//   checkpoint blocked TENSORS FOLDER    how long save_async keeps its caller while another save is under way, and a copy of the bytes
//   checkpoint reader TENSORS FOLDER      the longest that a thread that reads HDF5 files waits for the library while checkpoints are saved
//   in
//                                        the background, each with its own layout, and the longest H5Dcreate
//   checkpoint hash                      xxh3 of 5 GB on one core, against a second
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rand.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <hdf5.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/core/hdf5_lock.h"
#include "levin/core/number_text.h"

namespace {

constexpr int64_t all_bytes = int64_t{512} << 20;
constexpr int turns = 5;

double seconds_of(levin::Communicator& communicator, const std::function<void()>& act) {
  communicator.barrier();
  const auto began = std::chrono::steady_clock::now();
  act();
  communicator.barrier();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Named fp32 tensors, each cut over the ranks.
struct State {
  State(int64_t tensors, levin::Communicator& communicator) {
    const int64_t numel = all_bytes / 4 / tensors, ranks = communicator.size(), rank = communicator.rank();
    const int64_t begin = numel * rank / ranks, end = numel * (rank + 1) / ranks;
    memory = at::rand({tensors * (end - begin)});
    for (int64_t i = 0; i < tensors; i++) {
      const auto name = fmt::format("model/layer.{}.weight", i);
      state.tensors.push_back({name, at::kFloat, {numel}});
      state.pieces.push_back({name, levin::Hyperslab::range(begin, end), memory.const_data_ptr<float>() + i * (end - begin)});
    }
  }
  int64_t bytes() const { return memory.numel() * 4; }
  at::Tensor memory;
  levin::CheckpointState state;
};

void report(levin::Communicator& communicator, const std::string& label, int64_t tensors, double seconds) {
  if (communicator.rank() == 0)
    fmt::print("{{\"case\": \"{}, {} tensors\", \"value\": {:.4f}, \"unit\": \"s\"}}\n", label, tensors, seconds);
}

/// Of ours and theirs, turn by turn, the quartiles of their ratio.
void report(levin::Communicator& communicator, const std::string& label, int64_t tensors, const std::vector<double>& ours,
            const std::vector<double>& theirs) {
  std::vector<double> ratios;
  for (size_t i = 0; i < ours.size(); i++) ratios.push_back(ours[i] / theirs[i]);
  std::sort(ratios.begin(), ratios.end());
  if (communicator.rank() == 0)
    fmt::print(
        "{{\"case\": \"{}, {} tensors\", \"ours\": {:.6f}, \"peer\": {:.6f}, \"unit\": \"s\", \"ratio\": [{:.3f}, {:.3f}, {:.3f}]}}\n",
        label, tensors, median(ours), median(theirs), ratios[1], ratios[turns / 2], ratios[turns - 2]);
}

void save(levin::Communicator& communicator, int64_t tensors, const std::string& folder) {
  const State state(tensors, communicator);
  levin::CheckpointWriter writer(communicator, folder, {.fsync = false});
  std::vector<double> times;
  for (int turn = -1; turn < turns; turn++) {
    // Each time a new one, as in a training; the one before it goes while no clock runs.
    if (communicator.rank() == 0) std::filesystem::remove_all(std::filesystem::path(folder) / "bench");
    times.push_back(seconds_of(communicator, [&] { writer.save({.name = "bench", .step = turn + 1}, state.state); }));
  }
  times.erase(times.begin());
  report(communicator, "save", tensors, median(times));
}

void raw(levin::Communicator& communicator, int64_t tensors, const std::string& folder) {
  const State state(tensors, communicator);
  const auto file = std::filesystem::path(folder) / fmt::format("raw.{}", communicator.rank());
  const auto* bytes = static_cast<const char*>(state.memory.const_data_ptr());
  std::vector<double> times;
  for (int turn = -1; turn < turns; turn++) {
    times.push_back(seconds_of(communicator, [&] {
      const int out = open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
      for (int64_t done = 0; done < state.bytes();) {
        const ssize_t written = write(out, bytes + done, static_cast<size_t>(std::min(state.bytes() - done, int64_t{16} << 20)));
        if (written <= 0) throw std::runtime_error("cannot write " + file.string());
        done += written;
      }
      close(out);
    }));
    std::filesystem::remove(file);
  }
  times.erase(times.begin());
  report(communicator, "save", tensors, median(times));
}

void load(levin::Communicator& communicator, int64_t tensors, const std::string& folder) {
  State state(tensors, communicator);
  std::vector<double> times;
  for (int turn = -1; turn < turns; turn++)
    times.push_back(seconds_of(communicator, [&] {
      const levin::CheckpointReader reader(std::filesystem::path(folder) / "bench", communicator, {.verify_on_read = {"model/"}});
      reader.together([&] {
        for (const auto& piece : state.state.pieces) reader.read(piece.name, piece.slab, const_cast<void*>(piece.data));
      });
    }));
  times.erase(times.begin());
  report(communicator, fmt::format("load on {} ranks", communicator.size()), tensors, median(times));
}

void blocked(levin::Communicator& communicator, int64_t tensors, const std::string& folder) {
  const State state(tensors, communicator);
  levin::CheckpointWriter writer(communicator, folder, {.fsync = false});
  const at::Tensor copy = at::empty_like(state.memory);
  std::vector<double> ours, theirs;
  for (int turn = -1; turn < turns; turn++) {
    const double saving = seconds_of(communicator, [&] { writer.save_async({.name = "bench", .step = turn + 1}, state.state); });
    writer.finish();
    const double copying = seconds_of(
        communicator, [&] { std::memcpy(copy.mutable_data_ptr(), state.memory.const_data_ptr(), static_cast<size_t>(state.bytes())); });
    if (turn < 0) continue;  // its buffers are new
    ours.push_back(saving), theirs.push_back(copying);
  }
  report(communicator, "save_async", tensors, ours, theirs);
}

// Of as many data sets of a file in memory, with nobody beside.
double longest_create(int64_t tensors) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS), space = H5Screate(H5S_SCALAR);
  H5Pset_fapl_core(access, 1 << 20, false);
  const hid_t file = H5Fcreate("longest-create", H5F_ACC_TRUNC, H5P_DEFAULT, access);
  double longest = 0;
  for (int64_t i = 0; i < tensors; i++) {
    const auto began = std::chrono::steady_clock::now();
    const hid_t set = H5Dcreate2(file, fmt::format("layer.{}", i).c_str(), H5T_NATIVE_FLOAT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    longest = std::max(longest, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    H5Dclose(set);
  }
  H5Fclose(file), H5Sclose(space), H5Pclose(access);
  return longest;
}

void reader(levin::Communicator& communicator, int64_t tensors, const std::string& folder) {
  State state(tensors, communicator);
  levin::CheckpointWriter writer(communicator, folder, {.fsync = false});
  std::vector<double> ours, theirs;
  for (int turn = 0; turn < turns; turn++) {
    std::atomic<bool> done{false};
    double longest = 0;
    std::thread reading([&] {
      while (!done) {
        const auto began = std::chrono::steady_clock::now();
        { const levin::Hdf5Lock lock; }
        longest = std::max(longest, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    });
    state.state.texts = {{"state/turn", std::string(static_cast<size_t>(100 * turn), ' ')}};  // which changes the layout
    writer.save_async({.name = "bench", .step = turn}, state.state);
    writer.finish();
    done = true;
    reading.join();
    communicator.barrier();
    const double create = longest_create(tensors);
    communicator.barrier();
    ours.push_back(longest), theirs.push_back(create);
  }
  report(communicator, "longest wait", tensors, ours, theirs);
}

void hash() {
  const at::Tensor data = at::rand({(64 << 20) / 4});
  constexpr int64_t bytes = 5'000'000'000;
  uint64_t sum = 0;
  const auto began = std::chrono::steady_clock::now();
  for (int64_t done = 0; done < bytes; done += 64 << 20) sum += XXH3_64bits(data.const_data_ptr(), 64 << 20);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  fmt::print(
      "{{\"case\": \"xxh3 of 5 GB on one core\", \"ours\": {0:.3f}, \"peer\": 1, \"unit\": \"s\", \"ratio\": [{1:.3f}, {1:.3f}, {1:.3f}], "
      "\"sum\": {2}}}\n",
      seconds, 1 / seconds, sum % 10);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "hash") return hash(), 0;
  using Bench = void (*)(levin::Communicator&, int64_t, const std::string&);
  const Bench bench = mode == "save"      ? save
                      : mode == "raw"     ? raw
                      : mode == "load"    ? load
                      : mode == "blocked" ? blocked
                      : mode == "reader"  ? reader
                                          : nullptr;
  if (!bench || argc != 4) {
    fmt::print(stderr, "checkpoint save | raw | load | blocked | reader TENSORS FOLDER, or checkpoint hash\n");
    return 78;
  }
  levin::MpiRuntime mpi;
  const auto communicator = levin::Communicator::create_cpu(mpi);
  bench(*communicator, levin::parse_number<int64_t>(argv[2]).value(), argv[3]);
}
