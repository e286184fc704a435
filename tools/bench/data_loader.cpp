// An epoch of 60000 x 784 floats with labels, batch 64, shuffled; the best of no and two worker threads. The peer is torch's DataLoader.
#include "levin/data/data_loader.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "levin/data/tensor_dataset.h"

int main() {
  const auto data = std::make_shared<levin::TensorDataset>(levin::TensorDataset{
      {"image", at::rand({60000, 784})},
      {"label", at::randint(10, {60000}, at::kLong)},
  });
  double best = 1e9;
  int best_workers = 0;
  for (const int workers : {0, 2}) {
    levin::DataLoaderOptions options;
    options.batch_size = 64;
    options.num_workers = workers;
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
  fmt::print(
      "{{\"case\": \"60000 x 784 floats, batch 64, shuffled\", \"value\": {:.3f}, \"unit\": \"us/batch\", \"best_num_workers\": {}}}\n",
      best, best_workers);
}
