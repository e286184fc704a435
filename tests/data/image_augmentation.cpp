#include "levin/data/image_augmentation.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/full.h>
#include <ATen/ops/max.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/min.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/std.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "levin/core/error.h"
#include "levin/data/data_loader.h"
#include "levin/data/npy_array.h"
#include "levin/data/sample_random.h"
#include "levin/data/slice_dataset.h"
#include "levin/data/tensor_dataset.h"
#include "levin/data/transform_dataset.h"
#include "levin_test.h"

using levin::Batch;
using levin::ConfigError;
using levin::ImageAugmentation;
using levin::ImageAugmentationConfig;
using levin::Tensor;
using levin::UsageError;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(data_image_augmentation)

namespace {

Batch augmented(const Batch& source, const ImageAugmentationConfig& config, uint64_t seed = 1) {
  std::vector<uint64_t> seeds;
  for (int64_t i = 0; i < source.size(); ++i) seeds.push_back(seed + static_cast<uint64_t>(i));
  Batch into;
  const ImageAugmentation augmentation(config);
  augmentation(source, seeds, into);
  return into;
}

/// What each sample became in an epoch, by its index, gathered from the loaders of all ranks.
std::map<int64_t, Tensor> of_epoch(int64_t ranks, int64_t workers, int64_t epoch, uint64_t seed = 5) {
  const auto images = at::arange(23 * 2 * 5 * 4, at::kFloat).view({23, 2, 5, 4});
  auto source = std::make_shared<levin::TensorDataset>(levin::TensorDataset({{"image", images}, {"label", at::arange(23)}}));
  const auto data =
      std::make_shared<levin::TransformDataset>(source, ImageAugmentation({.flip_horizontal = 0.5, .crop_padding = 2, .noise = 0.1}));
  levin::DataLoaderOptions options;
  options.global_batch_size = 6;
  options.num_workers = workers;
  std::map<int64_t, Tensor> found;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    levin::DataLoader loader(data, options, {.rank = rank, .world_size = ranks, .seed = seed});
    loader.set_epoch(epoch);
    while (const Batch* batch = loader.next())
      for (size_t row = 0; row < batch->indices().size(); ++row) {
        const int64_t index = batch->indices()[row], at_row = static_cast<int64_t>(row);
        BOOST_REQUIRE((*batch)["label"][at_row].item<int64_t>() == index);
        BOOST_TEST(found.emplace(index, (*batch)["image"][at_row].clone()).second);
      }
  }
  return found;
}

bool same(const std::map<int64_t, Tensor>& a, const std::map<int64_t, Tensor>& b) {
  for (const auto& [index, image] : a)
    if (!b.contains(index) || !at::equal(image, b.at(index))) return false;
  return a.size() == b.size();
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_sample_is_the_same_on_any_number_of_ranks) {
  const auto on_one = of_epoch(1, 0, 0);
  BOOST_TEST(on_one.size() == 23U);
  for (const int64_t ranks : {2, 3})
    for (const int64_t workers : {0, 2}) BOOST_TEST(same(of_epoch(ranks, workers, 0), on_one));
  const auto next = of_epoch(1, 0, 1), other_seed = of_epoch(1, 0, 0, 6);
  for (const auto& [index, image] : on_one) {
    BOOST_TEST(!at::equal(image, next.at(index)));
    BOOST_TEST(!at::equal(image, other_seed.at(index)));
  }
}

BOOST_AUTO_TEST_CASE(a_slice_draws_what_the_whole_draws) {
  auto source = std::make_shared<levin::TensorDataset>(levin::TensorDataset({{"image", at::rand({9, 1, 3, 4})}}));
  const auto whole = std::make_shared<levin::TransformDataset>(source, ImageAugmentation({.noise = 0.1}));
  const levin::SliceDataset slice(whole, 4, 9);
  const std::vector<int64_t> rows{4, 8, 5}, in_slice{0, 4, 1};
  Batch right, got, next;
  whole->get_for_epoch(rows, 77, right);
  slice.get_for_epoch(in_slice, 77, got);
  slice.get_for_epoch(in_slice, 78, next);
  BOOST_TEST(at::equal(got["image"], right["image"]));
  BOOST_TEST(!at::equal(next["image"], right["image"]));
}

BOOST_AUTO_TEST_CASE(flips) {
  const Batch source{{"image", at::rand({200, 3, 4, 5})}};
  const auto both = augmented(source, {.flip_horizontal = 1, .flip_vertical = 1});
  BOOST_TEST(at::equal(both["image"], source["image"].flip({2, 3})));
  const auto some = augmented(source, {.flip_horizontal = 0.5});
  int64_t flipped = 0;
  for (int64_t i = 0; i < 200; ++i) {
    const bool is_flipped = at::equal(some["image"][i], source["image"][i].flip({2}));
    BOOST_TEST((is_flipped || at::equal(some["image"][i], source["image"][i])));
    flipped += is_flipped;
  }
  BOOST_TEST((flipped > 70 && flipped < 130));
}

BOOST_AUTO_TEST_CASE(crops_come_from_every_place_of_the_padded_image) {
  const Batch source{{"image", at::arange(300 * 20).remainder(20).add(1).view({300, 1, 4, 5}).to(at::kByte)}};
  const auto cropped = augmented(source, {.crop_padding = 1, .crop_height = 3});
  BOOST_TEST((cropped["image"].sizes() == at::IntArrayRef{300, 1, 3, 5}));
  const auto padded = at::constant_pad_nd(source["image"][0][0], {1, 1, 1, 1});
  std::set<std::pair<int64_t, int64_t>> places;
  for (int64_t i = 0; i < 300; ++i)
    for (int64_t top = 0; top <= 3; ++top)
      for (int64_t left = 0; left <= 2; ++left)
        if (at::equal(cropped["image"][i][0], padded.narrow(0, top, 3).narrow(1, left, 5))) places.emplace(top, left);
  BOOST_TEST(places.size() == 12U);
}

BOOST_AUTO_TEST_CASE(fields_are_moved_alike) {
  const auto image = at::rand({50, 3, 6, 6});
  const Batch source{{"image", image}, {"mask", image.narrow(1, 0, 1).clone()}, {"label", at::arange(50)}};
  const auto moved = augmented(source, {.fields = {"image", "mask"}, .flip_horizontal = 0.5, .flip_vertical = 0.5, .crop_padding = 2});
  BOOST_TEST(at::equal(moved["image"].narrow(1, 0, 1), moved["mask"]));
  BOOST_TEST(!at::equal(moved["image"], image));
  BOOST_TEST(at::equal(moved["label"], source["label"]));
  const auto colored = augmented(source, {.fields = {"image", "mask"}, .brightness = 0.5, .noise = 0.1});
  BOOST_TEST(at::equal(colored["mask"], source["mask"]));
  BOOST_TEST(!at::equal(colored["image"], image));
}

BOOST_AUTO_TEST_CASE(colors) {
  const auto image = at::rand({40, 3, 4, 4}).mul(0.3).add(0.3);  // no factor leads out of 0 … 1
  const Batch source{{"image", image}};
  std::set<int64_t> different;
  const auto brighter = augmented(source, {.brightness = 0.5})["image"];
  const auto contrast = augmented(source, {.contrast = 0.9})["image"], gray = augmented(source, {.saturation = 0.5})["image"];
  for (int64_t i = 0; i < 40; ++i) {
    // One factor for all values of an image.
    const auto factors = brighter[i].div(image[i]);
    const double factor = factors.mean().item<double>();
    BOOST_TEST(factors.std().item<double>() < 1e-5);
    BOOST_TEST((factor >= 0.5 && factor <= 1.5));
    different.insert(static_cast<int64_t>(factor * 1e6));
    const auto weights = at::tensor({0.299F, 0.587F, 0.114F}).view({3, 1, 1});
    const auto gray_before = image[i].mul(weights).sum(0), gray_after = gray[i].mul(weights).sum(0);
    BOOST_TEST(contrast[i].mul(weights).sum(0).mean().item<double>() == gray_before.mean().item<double>(),
               boost::test_tools::tolerance(1e-4));
    BOOST_TEST(gray_after.mean().item<double>() == gray_before.mean().item<double>(), boost::test_tools::tolerance(1e-4));
  }
  BOOST_TEST(different.size() == 40U);
  const auto bright = augmented(Batch{{"image", at::ones({30, 1, 2, 2})}}, {.brightness = 1.0})["image"];
  BOOST_TEST(bright.max().item<float>() == 1);
  BOOST_TEST(bright.min().item<float>() >= 0);
}

// With a folder of image_augmentation_peer.py: images, and what torchvision makes of them. Its gray is 0.2989 red + …, ours 0.299 red + ….
BOOST_AUTO_TEST_CASE(as_torchvision) {
  const auto& suite = boost::unit_test::framework::master_test_suite();
  if (suite.argc < 2) return;
  const std::filesystem::path folder = suite.argv[1];
  const std::vector<std::pair<std::string, ImageAugmentationConfig>> cases{
      {"rgb_brightness", {.brightness = 0.9}},  {"rgb_contrast", {.contrast = 0.9}},
      {"rgb_saturation", {.saturation = 0.9}},  {"rgb_all", {.brightness = 0.5, .contrast = 0.6, .saturation = 0.7}},
      {"gray_brightness", {.brightness = 0.9}}, {"gray_contrast", {.contrast = 0.9}}};
  for (const auto& [name, config] : cases) BOOST_TEST_CONTEXT(name) {
      const levin::NpyArray images(folder / (name.substr(0, name.find('_')) + ".npy")), right(folder / (name + ".npy"));
      const Tensor source = images.read(0, images.rows()), expected = right.read(0, right.rows());
      const auto got = augmented(Batch{{"image", source}}, config)["image"];
      BOOST_TEST(at::sub(got, expected).abs().max().item<double>() <
                 (name == "rgb_brightness" || name.starts_with("gray") ? 1e-6 : 1.5e-4));
      BOOST_TEST(at::sub(got, source).abs().max().item<double>() > 0.1);
    }
}

BOOST_AUTO_TEST_CASE(noise_is_normal) {
  const auto noisy = augmented(Batch{{"image", at::zeros({20, 1, 50, 50})}}, {.noise = 0.2})["image"];
  BOOST_TEST(std::abs(noisy.mean().item<double>()) < 0.005);
  BOOST_TEST(noisy.std().item<double>() == 0.2, boost::test_tools::tolerance(0.02));
  BOOST_TEST(!at::equal(noisy[0], noisy[1]));
}

BOOST_AUTO_TEST_CASE(random_numbers) {
  levin::SampleRandom random(7);
  std::vector<int64_t> counts(5);
  for (int i = 0; i < 5000; ++i) ++counts[static_cast<size_t>(random.below(5))];
  for (const auto count : counts) BOOST_TEST((count > 850 && count < 1150));
  BOOST_TEST(random.below(0) == 0);
  BOOST_TEST(levin::SampleRandom(0).bits() == 0xE220A8397B1DCDAFu);  // SplitMix64's first number of seed 0: it never changes
}

BOOST_AUTO_TEST_CASE(mistakes) {
  const Batch flat{{"image", at::zeros({2, 3})}}, bytes{{"image", at::zeros({2, 3, 4, 4}, at::kByte)}};
  check_throws<UsageError>([&] { augmented(flat, {.flip_horizontal = 1}); }, {"\"image\" is [2, 3] Float", "[n, channels, height, width]"});
  check_throws<UsageError>([&] { augmented(bytes, {.crop_padding = 1, .crop_width = 7}); }, {"[2, 3, 4, 4] Byte", "2 pixels"});
  check_throws<UsageError>([&] { augmented(bytes, {.noise = 1}); }, {"Byte", "float32"});
  check_throws<UsageError>([&] { augmented(Batch{{"image", at::zeros({2, 1, 4, 4})}}, {.saturation = 1}); }, {"3 channels"});
  check_throws<UsageError>([&] { augmented(flat, {.fields = {"picture"}}); }, {"picture"});
  check_throws<ConfigError>([&] { augmented(flat, {.flip_horizontal = 2}); }, {"flip_horizontal"});
  check_throws<ConfigError>([&] { augmented(flat, {.fields = {}}); }, {"no fields"});
  const ImageAugmentation darker({.brightness = 0.5});
  check_throws<UsageError>([&] { darker.check(bytes); }, {"Byte", "float32"});
  check_throws<UsageError>([&] { darker.check(Batch{{"image", at::full({1, 3, 4, 4}, 255.0F)}}); }, {"values from 255 to 255", "0 to 1"});
  darker.check(Batch{{"image", at::full({1, 3, 4, 4}, 1.000001F)}});
}

BOOST_AUTO_TEST_SUITE_END()
