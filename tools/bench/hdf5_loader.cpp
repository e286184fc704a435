// hdf5_loader FILE: an epoch over the images and labels of an HDF5 file, contiguous and in compressed chunks, batch 64, shuffled in blocks
// of 64, 16 blocks mixed; the best of no and two worker threads. The peer is torch's DataLoader over h5py; peers/hdf5_loader.py writes
// FILE. The cache of decoded chunks holds the mixed blocks, not the file: every epoch decodes all chunks, on both sides.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "levin/data/data_loader.h"
#include "levin/data/hdf5_files.h"

namespace {

constexpr size_t cache_bytes = size_t{4} << 20;  // peers/hdf5_loader.py has the same

void measure(const std::string& file, const std::string& images, const std::string& name) {
  const auto data = std::make_shared<levin::Hdf5Files>(std::vector<std::filesystem::path>{file}, std::vector<std::string>{images, "label"},
                                                       levin::Hdf5FilesOptions{.cache_bytes = cache_bytes});
  double best = 1e9;
  int best_workers = 0;
  for (const int workers : {0, 2}) {
    levin::DataLoaderOptions options;
    options.batch_size = 64;
    options.num_workers = workers;
    options.shuffle_block = 64;
    levin::DataLoader loader(data, options);
    std::vector<double> epochs;
    for (int epoch = 0; epoch < 4; ++epoch) {
      const auto began = std::chrono::steady_clock::now();
      loader.set_epoch(epoch);
      while (loader.next()) {
      }
      epochs.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - began).count());
    }
    std::sort(epochs.begin() + 1, epochs.end());  // the first warms up
    const double time = epochs[2] / static_cast<double>(loader.batches());
    if (time < best) best = time, best_workers = workers;
  }
  fmt::print("{{\"case\": \"{}\", \"value\": {:.3f}, \"unit\": \"us/batch\", \"best_num_workers\": {}}}\n", name, best, best_workers);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  measure(argv[1], "contiguous", "HDF5, contiguous, blocks of 64 shuffled");
  measure(argv[1], "gzip", "HDF5, chunks with gzip, decoded every epoch, blocks of 64 shuffled");
}
