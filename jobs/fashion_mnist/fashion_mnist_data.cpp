#include "fashion_mnist_data.h"

#include <ATen/ops/max.h>
#include <c10/util/StringUtil.h>

#include <array>
#include <string>
#include <vector>

#include "levin/core/error.h"
#include "levin/data/idx.h"
#include "levin/data/tensor_dataset.h"

namespace fashion_mnist {
namespace {

namespace fs = std::filesystem;
using levin::DataError;
using levin::Tensor;

fs::path find_folder(const fs::path& given) {
  const std::array<fs::path, 2> usual{"/usr/share/datasets/fashion-mnist", "/usr/local/share/datasets/fashion-mnist"};
  if (!given.empty()) return given;
  for (const auto& folder : usual)
    if (std::error_code unseen; fs::is_directory(folder, unseen)) return folder;
  throw DataError(fmt::format("Fashion-MNIST is neither in {} nor in {}", usual[0].string(), usual[1].string()),
                  "install the Debian package dataset-fashion-mnist, or give the folder with --data.path");
}

Tensor read(const fs::path& folder, const std::string& name) {
  std::error_code error;
  for (const auto* suffix : {"", ".gz"})
    if (const auto file = folder / (name + suffix); fs::exists(file, error)) return levin::read_idx(file);
  if (error)
    throw levin::IoError(fmt::format("cannot look into {}: {}", folder.string(), error.message()), "make the folder readable", "data");
  throw DataError(fmt::format("{} has neither {} nor {}.gz", folder.string(), name, name),
                  "give the folder of Fashion-MNIST's files with --data.path");
}

struct Samples {
  Tensor images, labels;
};

// `part` is "train" or "t10k".
Samples read_samples(const fs::path& folder, const std::string& part) {
  const auto images = read(folder, part + "-images-idx3-ubyte"), labels = read(folder, part + "-labels-idx1-ubyte");
  const bool fits = images.scalar_type() == at::kByte && images.dim() == 3 && images.size(1) == FashionMnistData::side &&
                    images.size(2) == FashionMnistData::side && labels.scalar_type() == at::kByte && labels.dim() == 1 &&
                    labels.size(0) == images.size(0);
  if (!fits)
    throw DataError(fmt::format("{}: the images of {} are {} {}, the labels {} {}", folder.string(), part, c10::str(images.sizes()),
                                c10::toString(images.scalar_type()), c10::str(labels.sizes()), c10::toString(labels.scalar_type())),
                    "images must be [n, 28, 28] Byte, labels [n] Byte");
  if (const auto most = labels.max().item<int64_t>(); most >= FashionMnistData::classes)
    throw DataError(fmt::format("{}: a label of {} is {}, there are {} classes", folder.string(), part, most, FashionMnistData::classes));
  return {images.unsqueeze(1), labels.to(at::kLong)};
}

std::shared_ptr<const levin::Dataset> dataset(const Samples& samples, int64_t begin, int64_t end) {
  if (begin == end) return nullptr;
  auto data = std::make_shared<levin::TensorDataset>(std::vector<std::pair<std::string, Tensor>>{
      {"image", samples.images.narrow(0, begin, end - begin)}, {"label", samples.labels.narrow(0, begin, end - begin)}});
  data->scale_bytes("image", 1 / (255 * FashionMnistData::pixel_deviation),
                    -FashionMnistData::pixel_mean / FashionMnistData::pixel_deviation);
  return data;
}

}  // namespace

FashionMnistData::FashionMnistData(const FashionMnistDataConfig& config) {
  const auto folder = find_folder(config.path);
  const auto train = read_samples(folder, "train"), test = read_samples(folder, "t10k");
  const auto samples = train.labels.size(0), first_of_val = samples - config.val_samples;
  if (first_of_val < 1)
    throw levin::ConfigError(fmt::format("val_samples is {}, of {} training samples", config.val_samples, samples),
                             "leave some to train on");
  train_ = dataset(train, 0, first_of_val);
  val_ = dataset(train, first_of_val, samples);
  test_ = dataset(test, 0, test.labels.size(0));
}

}  // namespace fashion_mnist
