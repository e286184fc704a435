#include "levin/cli/file_data.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/flip.h>

#include <map>

#include "../checkpoint/checkpoint_sample.h"
#include "levin/cli/array_data.h"
#include "levin/core/error.h"
#include "levin/data/data_loader.h"
#include "levin_test.h"

using namespace levin::test;
using levin::Batch;
using levin::ConfigError;
using levin::Stage;
using levin::Tensor;
using levin::cli::NpyData;
using levin::cli::NpyDataConfig;

BOOST_AUTO_TEST_SUITE(cli_file_data)

namespace {

constexpr int64_t samples = 20;

// Value i of all is i / 1200.
Tensor all_images() { return at::arange(samples * 3 * 4 * 5, at::kFloat).div(1200).view({samples, 3, 4, 5}); }

// image.npy holds all_images().
struct ImageFile {
  std::unique_ptr<levin::Communicator> communicator = levin::Communicator::create_cpu(runtime());
  SharedFolder folder{*communicator};

  ImageFile() {
    const Tensor images = all_images();
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (20, 3, 4, 5), }\n";
    std::string bytes = "\x93NUMPY\x01";
    bytes += '\0';
    bytes += static_cast<char>(header.size());
    bytes += '\0';
    write_bytes(folder.path / "image.npy",
                bytes + header + std::string(static_cast<const char*>(images.const_data_ptr()), images.nbytes()));
  }
  NpyDataConfig config(const levin::ImageAugmentationConfig& augmentation) const {
    NpyDataConfig config;
    config.files.train = config.files.test = config.files.predict = {{"image", folder.path / "image.npy"}};
    config.options.augmentation = augmentation;
    return config;
  }
};

Tensor images_of(const levin::DataLoaderSpec& spec, const std::vector<int64_t>& rows, uint64_t epoch_seed = 7) {
  Batch batch;
  spec.dataset->get_for_epoch(rows, epoch_seed, batch);
  return batch["image"];
}

std::vector<int64_t> first_rows(int64_t count) {
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < count; ++row) rows.push_back(row);
  return rows;
}

// The training's images of an epoch by their indices, gathered from the loaders of all ranks.
std::map<int64_t, Tensor> training_epoch(NpyData& data, int64_t ranks) {
  std::map<int64_t, Tensor> found;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    levin::DataLoaderOptions options;
    options.batch_size = 3;
    levin::DataLoader loader(data.train_dataloader().dataset, options, {.rank = rank, .world_size = ranks, .seed = 5});
    while (const Batch* batch = loader.next())
      for (size_t row = 0; row < batch->indices().size(); ++row)
        found.emplace(batch->indices()[row], (*batch)["image"][static_cast<int64_t>(row)].clone());
  }
  return found;
}

}  // namespace

BOOST_AUTO_TEST_CASE(only_the_training_is_augmented) {
  const ImageFile file;
  const auto images = all_images();
  NpyData from_file(file.config({.flip_horizontal = 1}));
  for (const auto stage : {Stage::fit, Stage::test, Stage::predict}) from_file.setup(stage);
  BOOST_TEST(at::equal(images_of(from_file.train_dataloader(), first_rows(samples)), images.flip({3})));
  BOOST_TEST(at::equal(images_of(from_file.test_dataloader(), first_rows(samples)), images));
  BOOST_TEST(at::equal(images_of(from_file.predict_dataloader(), first_rows(samples)), images));
  // Validation data from their own file, and from the end of the training data.
  auto own_file = file.config({.flip_horizontal = 1});
  own_file.files.val = own_file.files.train;
  NpyData with_val(own_file);
  with_val.setup(Stage::fit);
  BOOST_TEST(at::equal(images_of(with_val.val_dataloader(), first_rows(samples)), images));
  auto kept = file.config({.flip_horizontal = 1, .noise = 0.1});
  kept.options.val_samples = 6;
  for (const auto stage : {Stage::fit, Stage::validate}) {
    NpyData split(kept);
    split.setup(stage);
    BOOST_TEST(at::equal(images_of(split.val_dataloader(), first_rows(6)), images.narrow(0, 14, 6)));
    if (stage == Stage::fit) BOOST_TEST(split.train_dataloader().dataset->size() == 14);
  }
}

BOOST_AUTO_TEST_CASE(each_sample_is_changed_by_its_own_seed) {
  const ImageFile file;
  const levin::ImageAugmentationConfig augmentation{.flip_horizontal = 0.5, .crop_padding = 2, .brightness = 0.3, .noise = 0.1};
  NpyData data(file.config(augmentation)), again(file.config(augmentation));
  data.setup(Stage::fit);
  again.setup(Stage::fit);
  const auto train = data.train_dataloader();
  const auto some = images_of(train, {3, 11, 4}).clone();
  BOOST_TEST(at::equal(images_of(again.train_dataloader(), {3, 11, 4}), some));
  BOOST_TEST(at::equal(images_of(train, {11})[0], some[1]));
  BOOST_TEST(!at::equal(images_of(train, {3, 11, 4}, 8), some));
  const auto on_one = training_epoch(data, 1), on_three = training_epoch(data, 3);
  BOOST_TEST(on_one.size() == static_cast<size_t>(samples));
  BOOST_REQUIRE(on_three.size() == on_one.size());
  for (const auto& [index, image] : on_one) BOOST_TEST(at::equal(image, on_three.at(index)), index);
}

BOOST_AUTO_TEST_CASE(augmentations_that_do_not_fit) {
  const ImageFile file;
  const auto refused = [](const NpyDataConfig& config, const std::vector<std::string>& parts) {
    check_throws<ConfigError>(
        [&] {
          levin::check_config(config);
          NpyData(config).setup(Stage::fit);
        },
        parts);
  };
  refused(file.config({.fields = {"picture"}}), {"data.augmentation.fields has \"picture\"", "name one of: image"});
  refused(file.config({.fields = {}}), {"augmentation: an image augmentation has no fields"});
  refused(file.config({.flip_vertical = 1.5}), {"augmentation.flip_vertical", "0 to 1"});
  refused(file.config({.crop_padding = 1, .crop_height = 7}),
          {"data.augmentation: \"image\" is [1, 3, 4, 5] Float", "2 pixels of padding"});
  auto shaped = file.config({.flip_horizontal = 1});
  shaped.options.shape = {{"image", {60}}};
  refused(shaped, {"data.augmentation: \"image\" is [1, 60] Float", "[n, channels, height, width]", "data.shape"});
  auto large = file.config({.contrast = 0.5});
  large.options.scale = {{"image", 255.0}};
  refused(large, {"data.augmentation: \"image\" has values from 0 to 12.", "colors need values from 0 to 1"});
  auto doubles = file.config({.noise = 0.5});
  doubles.options.dtype = {{"image", levin::cli::FieldDtype::float64}};
  refused(doubles, {"data.augmentation: \"image\" is [1, 3, 4, 5] Double", "colors and noise need float32"});
}

BOOST_AUTO_TEST_SUITE_END()
