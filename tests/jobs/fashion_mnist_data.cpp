#include "../../jobs/fashion_mnist/fashion_mnist_data.h"

#include <ATen/ops/bincount.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/std.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <numeric>

#include "levin/core/error.h"
#include "levin_test.h"

using fashion_mnist::FashionMnistData;
using fashion_mnist::FashionMnistDataConfig;
using levin::Batch;
using levin::DataError;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(jobs_fashion_mnist_data)

namespace {

Batch all_of(const levin::Dataset& data) {
  std::vector<int64_t> indices(static_cast<size_t>(data.size()));
  std::iota(indices.begin(), indices.end(), 0);
  Batch batch;
  data.get(indices, batch);
  return batch;
}

struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("levin_fashion_" + std::to_string(getpid()));
  Folder() { std::filesystem::create_directory(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  void write(const std::string& name, const std::vector<uint8_t>& shape, uint8_t value) const {
    std::string bytes{'\0', '\0', '\x08', static_cast<char>(shape.size())};
    size_t count = 1;
    for (const auto length : shape) {
      bytes += std::string(3, '\0') + static_cast<char>(length);
      count *= length;
    }
    std::ofstream(path / name, std::ios::binary) << bytes << std::string(count, static_cast<char>(value));
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(the_real_files) {
  const FashionMnistData data({});
  BOOST_TEST(data.train()->size() == 55000);
  BOOST_TEST(data.val()->size() == 5000);
  BOOST_TEST(data.test()->size() == 10000);
  const auto train = all_of(*data.train()), test = all_of(*data.test());
  BOOST_TEST(train["image"].sizes() == (std::vector<int64_t>{55000, 1, 28, 28}));
  BOOST_TEST(std::abs(train["image"].mean().item<double>()) < 0.01);
  BOOST_TEST(std::abs(train["image"].std().item<double>() - 1) < 0.01);
  BOOST_TEST(train["label"][0].item<int64_t>() == 9);  // an ankle boot comes first in both
  BOOST_TEST(test["label"][0].item<int64_t>() == 9);
  BOOST_TEST(at::equal(test["label"].bincount(), at::full({10}, 1000, at::kLong)));
}

BOOST_AUTO_TEST_CASE(the_split_is_an_option) {
  FashionMnistDataConfig config;
  config.val_samples = 0;
  const FashionMnistData whole(config);
  BOOST_TEST(whole.train()->size() == 60000);
  BOOST_TEST((whole.val() == nullptr));
  config.val_samples = 60000;
  check_throws<levin::ConfigError>([&] { FashionMnistData{config}; }, {"val_samples is 60000", "60000 training samples"});
}

BOOST_AUTO_TEST_CASE(other_files) {
  const Folder folder;
  FashionMnistDataConfig config;
  config.path = folder.path;
  config.val_samples = 1;
  const auto open = [&] { FashionMnistData{config}; };
  check_throws<DataError>(open, {"train-images-idx3-ubyte.gz", "--data.path"});
  folder.write("train-images-idx3-ubyte", {3, 28, 28}, 255);
  folder.write("train-labels-idx1-ubyte", {3}, 9);
  folder.write("t10k-images-idx3-ubyte", {2, 28, 28}, 0);
  folder.write("t10k-labels-idx1-ubyte", {2}, 1);
  const FashionMnistData data(config);  // plain files
  BOOST_TEST(data.train()->size() == 2);
  BOOST_TEST(std::abs(all_of(*data.val())["image"].max().item<double>() - (1 - 0.2860) / 0.3530) < 1e-5);
  folder.write("train-labels-idx1-ubyte", {3}, 10);
  check_throws<DataError>(open, {"label of train is 10", "10 classes"});
  folder.write("train-labels-idx1-ubyte", {4}, 1);
  check_throws<DataError>(open, {"[3, 28, 28]", "[4]"});
  folder.write("train-labels-idx1-ubyte", {3}, 1);
  folder.write("train-images-idx3-ubyte", {3, 28, 27}, 0);
  check_throws<DataError>(open, {"[3, 28, 27]"});
}

BOOST_AUTO_TEST_SUITE_END()
