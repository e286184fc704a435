#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>

#include "levin/core/config.h"
#include "levin/data/data_loader_options.h"
#include "levin/data/dataset.h"

namespace fashion_mnist {

struct FashionMnistDataConfig {
  std::filesystem::path path;
  int64_t val_samples = 5000;
  levin::DataLoaderOptions loader;
};
LEVIN_CONFIG(FashionMnistDataConfig,
             (path, "folder of the four files of Fashion-MNIST, plain or .gz; where Debian's package puts them if empty"),
             (val_samples, "samples at the end of the training set that are kept for validation", at_least(0)),
             (loader, "how batches are made", flattened))

/// Fashion-MNIST (Xiao, Rasul, Vollgraf: "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017):
/// batches of "image", float32 [n, 1, 28, 28] with mean 0 and deviation 1 over the training set, and "label", int64 [n], 0 to 9. In
/// memory the images stay bytes.
class FashionMnistData {
 public:
  static constexpr int64_t classes = 10, side = 28;
  /// Of the pixels of the 60000 training images, as parts of 255.
  static constexpr float pixel_mean = 0.2860F, pixel_deviation = 0.3530F;

  /// Reads the files. DataError when they are not to be found, or are not what they should be.
  explicit FashionMnistData(const FashionMnistDataConfig& config);

  /// The first 60000 - val_samples training samples.
  const std::shared_ptr<const levin::Dataset>& train() const noexcept { return train_; }
  /// The last val_samples of them; null if val_samples is 0.
  const std::shared_ptr<const levin::Dataset>& val() const noexcept { return val_; }
  const std::shared_ptr<const levin::Dataset>& test() const noexcept { return test_; }

 private:
  std::shared_ptr<const levin::Dataset> train_, val_, test_;
};

}  // namespace fashion_mnist
