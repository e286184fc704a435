#include "levin/data/image_folder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <thread>

#include "../checkpoint/checkpoint_sample.h"
#include "levin/core/error.h"
#include "levin/data/npy_array.h"
#include "levin_test.h"
#include "test_paths.h"

using namespace levin::test;
using levin::Batch;
using levin::DataError;
using levin::ImageFolder;
using levin::ImageFolderOptions;
using levin::Tensor;
using levin::UsageError;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(data_image_folder)

namespace {

const fs::path fixtures = fs::path(LEVIN_TESTS) / "data/fixtures";

// A folder that the ranks share; rank 0 fills it.
struct Images {
  std::unique_ptr<levin::Communicator> communicator = levin::Communicator::create_cpu(runtime());
  SharedFolder folder{*communicator};
  bool first = communicator->rank() == 0;

  void copy(const std::string& fixture, const std::string& to) const {
    if (!first) return;
    fs::create_directories((folder.path / to).parent_path());
    fs::copy_file(fixtures / fixture, folder.path / to);
  }
  void write(const std::string& name, const std::string& bytes) const {
    if (!first) return;
    fs::create_directories((folder.path / name).parent_path());
    write_bytes(folder.path / name, bytes);
  }
  /// Copies fixtures into classes, and opens them on all ranks.
  ImageFolder open(const ImageFolderOptions& options = {}) const {
    communicator->barrier();
    return ImageFolder(folder.path, options, communicator.get());
  }
};

Tensor image(const ImageFolder& data, int64_t index) {
  Batch batch;
  data.get(std::vector<int64_t>{index}, batch);
  return batch["image"][0].to(at::kLong);
}

// Its pixels as uint8 would have them, [channels, height, width].
Tensor decoded(const std::string& fixture, int64_t channels) {
  const Images images;
  images.copy(fixture, "a/" + fixture);
  return image(images.open({.channels = channels, .as_float = false}), 0);
}

// make_images.py: (7 y + 3 x + 50 c) mod 256
Tensor written(int64_t channels) {
  const auto y = at::arange(18).view({1, 18, 1}), x = at::arange(24).view({1, 1, 24}), c = at::arange(channels).view({channels, 1, 1});
  return (7 * y + 3 * x + 50 * c).remainder(256);
}

int64_t largest(const Tensor& difference) { return difference.abs().max().item<int64_t>(); }

}  // namespace

BOOST_AUTO_TEST_CASE(png_files_have_exactly_their_pixels) {
  for (const std::string name : {"rgb.png", "rgba.png"}) BOOST_TEST(at::equal(decoded(name, 3), written(3)), name);
  for (const std::string name : {"gray.png", "gray_alpha.png", "gray16.png", "palette.png"}) {
    BOOST_TEST(at::equal(decoded(name, 1), written(1)), name);
    BOOST_TEST(at::equal(decoded(name, 3), written(1).expand({3, 18, 24})), name);
  }
  BOOST_TEST(at::equal(decoded("one_bit.png", 1), written(1).gt(100).to(at::kLong) * 255));
  const auto rgb = written(3);
  const auto gray = (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 32768).div(65536, "floor");
  BOOST_TEST(at::equal(decoded("rgb.png", 1)[0], gray));
}

// Beside each is what PIL decodes.
BOOST_AUTO_TEST_CASE(jpeg_files_are_within_two_levels_of_pils) {
  for (const std::string name : {"color.jpg", "fine.jpg", "progressive.jpg", "gray.jpg", "cmyk.jpg"}) {
    const auto difference = decoded(name, 3) - decoded(name + ".png", 3);
    BOOST_TEST(largest(difference) <= 2, name);
    BOOST_TEST(difference.eq(0).sum().item<int64_t>() > 1200, name);  // of 1296
  }
  BOOST_TEST(largest(decoded("gray.jpg", 1) - decoded("gray.jpg.png", 1)) <= 2);
}

BOOST_AUTO_TEST_CASE(classes_are_sorted_folders) {
  const Images images;
  for (const auto* to : {"dog/2.png", "dog/10.png", "cat/z.PNG", "cat/deep/er/a.png", "cat/deep-b/a.png", "eel/x.jpeg"})
    images.copy(std::string(to).ends_with("jpeg") ? "color.jpg" : "rgb.png", to);
  images.write("dog/notes.txt", "not an image");
  images.write("dog/.hidden.png", "not an image");
  images.write(".cache/x.png", "not an image");
  images.write("README.png", "not in a class");
  if (images.first) fs::create_directory_symlink("..", images.folder.path / "cat/deep/up");  // a cycle
  const auto data = images.open();
  BOOST_TEST(data.classes() == (std::vector<std::string>{"cat", "dog", "eel"}), boost::test_tools::per_element());
  BOOST_TEST(data.size() == 6);
  std::vector<std::string> files;
  for (int64_t i = 0; i < 6; i++) files.push_back(data.file(i));
  BOOST_TEST(
      files == (std::vector<std::string>{"cat/z.PNG", "cat/deep-b/a.png", "cat/deep/er/a.png", "dog/10.png", "dog/2.png", "eel/x.jpeg"}),
      boost::test_tools::per_element());
  Batch batch;
  data.get(std::vector<int64_t>{5, 0, 3, 3}, batch);
  BOOST_TEST(at::equal(batch["label"], at::tensor({2, 0, 1, 1}, at::kLong)));
  BOOST_TEST((batch["image"].sizes() == at::IntArrayRef{4, 3, 18, 24}));
  BOOST_TEST(batch["image"].scalar_type() == at::kFloat);
  BOOST_TEST(at::equal(batch["image"][1], written(3).to(at::kFloat) / 255));
  // Validation data of one class keep the training's numbers.
  images.copy("rgb.png", "val/eel/a.png");
  images.communicator->barrier();
  const ImageFolder val(images.folder.path / "val", {.classes = data.classes()}, images.communicator.get());
  val.get(std::vector<int64_t>{0}, batch);
  BOOST_TEST(batch["label"].item<int64_t>() == 2);
  check_throws<DataError>(
      [&] {
        ImageFolder(images.folder.path / "val", {.classes = {"cat", "dog"}}, images.communicator.get());
      },
      {"[data] ", "has the class \"eel\", which is not one of the 2 given classes"});
  const ImageFolder flat(images.folder.path / "dog", {.without_classes = true}, images.communicator.get());
  BOOST_TEST(flat.size() == 2);
  Batch without;
  flat.get(std::vector<int64_t>{0, 1}, without);
  BOOST_TEST(without.tensors().size() == 1);
}

// The definition of bilinear interpolation with half-pixel centers, in double.
Tensor interpolated(const Tensor& from, int64_t height, int64_t width) {
  const auto* in = from.const_data_ptr<int64_t>();
  const int64_t rows = from.size(1), columns = from.size(2);
  const Tensor out = at::empty({from.size(0), height, width}, at::kLong);
  auto* to = out.mutable_data_ptr<int64_t>();
  const auto at_axis = [](int64_t i, int64_t size, int64_t target) {
    return std::max(0.0, (static_cast<double>(i) + 0.5) * static_cast<double>(size) / static_cast<double>(target) - 0.5);
  };
  for (int64_t c = 0; c < from.size(0); c++)
    for (int64_t i = 0; i < height; i++)
      for (int64_t j = 0; j < width; j++) {
        const double y = at_axis(i, rows, height), x = at_axis(j, columns, width);
        const auto top = static_cast<int64_t>(y), left = static_cast<int64_t>(x);
        const auto value = [&](int64_t row, int64_t column) {
          return static_cast<double>(in[(c * rows + std::min(row, rows - 1)) * columns + std::min(column, columns - 1)]);
        };
        const double v = y - static_cast<double>(top), u = x - static_cast<double>(left);
        *to++ = std::llround((value(top, left) * (1 - u) + value(top, left + 1) * u) * (1 - v) +
                             (value(top + 1, left) * (1 - u) + value(top + 1, left + 1) * u) * v);
      }
  return out;
}

BOOST_AUTO_TEST_CASE(resize_and_crop) {
  const Images images;
  images.copy("rgb.png", "a/rgb.png");
  const auto opened = [&](ImageFolderOptions options) {
    options.as_float = false;
    return image(images.open(options), 0);
  };
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{9, 12}, {36, 48}, {18, 24}, {7, 40}, {1, 1}}) {
    const auto got = opened({.resize = levin::ImageSize{height, width}});
    BOOST_TEST((got.sizes() == at::IntArrayRef{3, height, width}));
    BOOST_TEST(largest(got - interpolated(written(3), height, width)) <= 1);  // halves are rounded otherwise
  }
  BOOST_TEST((opened({.resize_shorter = 9}).sizes() == at::IntArrayRef{3, 9, 12}));
  BOOST_TEST((opened({.resize_shorter = 10}).sizes() == at::IntArrayRef{3, 10, 13}));  // int(10 * 24 / 18)
  BOOST_TEST(at::equal(opened({.crop = levin::ImageSize{10, 24}}), written(3).narrow(1, 4, 10)));
  // torchvision's round(2.5) is 2, round(3.5) is 4.
  BOOST_TEST(at::equal(opened({.crop = levin::ImageSize{13, 17}}), written(3).narrow(1, 2, 13).narrow(2, 4, 17)));
  BOOST_TEST((opened({.resize_shorter = 12, .crop = levin::ImageSize{12, 12}}).sizes() == at::IntArrayRef{3, 12, 12}));
  check_throws<DataError>(
      [&] {
        opened({.crop = levin::ImageSize{19, 5}});
      },
      {"a/rgb.png has 18 x 24 pixels, fewer than the crop of 19 x 5"});
  check_throws<UsageError>([&] { opened({.channels = 4}); }, {"images of 4 channels"});
  check_throws<UsageError>([&] { opened({.resize_shorter = 9, .resize = levin::ImageSize{9, 9}}); }, {"both given"});
}

BOOST_AUTO_TEST_CASE(bad_folders_and_files_are_named) {
  const Images images;
  images.copy("rgb.png", "good/a/a.png");
  images.copy("color.jpg", "good/a/b.jpg");
  images.copy("rgb.png", "good/a/c.png");
  images.copy("rgb.png", "webp/a/a.png");
  images.write("webp/a/b.webp", "RIFF");
  images.write("none/a/a.txt", "text");
  images.write("flat/notes.txt", "text");
  images.communicator->barrier();
  const auto open = [&](const std::string& name) { return ImageFolder(images.folder.path / name, {}, images.communicator.get()); };
  check_throws<DataError>([&] { open("gone"); }, {"[data] ", "cannot list the folder ", "gone"});
  check_throws<DataError>([&] { open("flat"); }, {"flat has no folders; each class has a folder of images"});
  check_throws<DataError>([&] { open("none"); }, {"none/a has no JPEG or PNG files"});
  check_throws<DataError>([&] { open("webp"); }, {"webp/a/b.webp is a .webp file, which Levin does not read", "convert it"});
  if (!images.first) return;
  const ImageFolder data(images.folder.path / "good");
  Batch batch;
  const auto read = [&](int64_t index) { data.get(std::vector<int64_t>{index}, batch); };
  for (const auto& [index, name] : {std::pair<int64_t, std::string>{1, "good/a/b.jpg"}, {2, "good/a/c.png"}}) {
    const auto file = images.folder.path / name;
    const auto whole = bytes_of(file);
    read(index);
    for (const size_t length : {size_t{0}, size_t{2}, size_t{20}, whole.size() / 2, whole.size() - 30}) BOOST_TEST_CONTEXT(name << length) {
        write_bytes(file, whole.substr(0, length));
        check_throws<DataError>([&, index = index] { read(index); }, {"[data] " + file.string() + " is corrupt: ", "copy the image again"});
      }
    int refused = 0;
    for (size_t at = 0; at < whole.size(); at += 3) {  // whatever a byte does, nothing outside is read
      auto broken = whole;
      broken[at] = static_cast<char>(broken[at] ^ 0x55);
      write_bytes(file, broken);
      try {
        read(index);
      } catch (const DataError&) {
        refused++;
      }
    }
    BOOST_TEST(refused > 10);
    write_bytes(file, whole);
  }
  write_bytes(images.folder.path / "good/a/c.png", "GIF89a no PNG");
  check_throws<DataError>([&] { read(2); }, {"c.png is corrupt: is neither JPEG nor PNG"});
  fs::remove(images.folder.path / "good/a/c.png");
  check_throws<DataError>([&] { read(2); }, {"c.png is missing"});
  fs::copy_file(fixtures / "rgb.png", images.folder.path / "good/a/c.png");
  const ImageFolder cropped(images.folder.path / "good", {.resize_shorter = 9});
  BOOST_TEST(cropped.size() == 3);
  check_throws<UsageError>([&] { read(3); }, {"sample 3", "has 3"});
}

BOOST_AUTO_TEST_CASE(a_folder_that_cannot_be_examined_is_an_error) {
  const Images images;
  for (const auto* to : {"ants/a.png", "cats/a.png", "dogs/a.png"}) images.copy("rgb.png", to);
  if (images.first) fs::create_directory_symlink("gone", images.folder.path / "bees");
  check_throws<DataError>([&] { images.open(); }, {"[data] ", "cannot examine ", "bees", "No such file", "repair it"});
  images.communicator->barrier();
  if (images.first) {
    fs::remove(images.folder.path / "bees");
    fs::create_directory_symlink("more", images.folder.path / "cats/more");  // leads to itself
  }
  check_throws<DataError>([&] { images.open(); }, {"[data] ", "cannot examine ", "cats/more", "symbolic links"});
}

BOOST_AUTO_TEST_CASE(images_of_other_shapes_are_refused) {
  const Images images;
  images.copy("rgb.png", "a/a.png");
  images.copy("rgb.png", "a/b.png");
  const auto data = images.open();
  images.communicator->barrier();
  // 1 x 1, 8 bits, gray: written by hand.
  const std::string tiny(
      "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0\x3a\x7e\x9b\x55\0\0\0\nIDATx\x9c\x63\x60\0\0\0\x02\0\x01"
      "\x48\xaf\xa4\x71\0\0\0\0IEND\xae\x42\x60\x82",
      67);
  images.write("a/b.png", tiny);
  images.communicator->barrier();
  Batch batch;
  check_throws<DataError>(
      [&] {
        data.get(std::vector<int64_t>{0, 1}, batch);
      },
      {"b.png has 1 x 1 pixels, a/a.png has 18 x 24", "give a crop"});
}

// With a folder of image_folder_peer.py: images, and what torchvision makes of them.
BOOST_AUTO_TEST_CASE(as_torchvision) {
  const auto& suite = boost::unit_test::framework::master_test_suite();
  if (suite.argc < 2) return;
  const fs::path folder = suite.argv[1];
  const ImageFolder data(folder / "images", {.resize_shorter = 36, .crop = levin::ImageSize{32, 31}, .as_float = false});
  std::string names;
  for (const auto& name : data.classes()) names += name + "\n";
  BOOST_TEST(names == bytes_of(folder / "classes"));
  const levin::NpyArray images(folder / "image.npy"), labels(folder / "label.npy");
  BOOST_REQUIRE(data.size() == images.rows());
  for (int64_t i = 0; i < data.size(); i++) BOOST_TEST_CONTEXT(data.file(i)) {
      Batch batch;
      data.get(std::vector<int64_t>{i}, batch);
      BOOST_TEST(at::equal(batch["label"], labels.read(i, 1)));
      const auto difference = batch["image"].to(at::kLong) - images.read(i, 1).to(at::kLong);
      BOOST_TEST(largest(difference) <= (data.file(i).ends_with("png") ? 1 : 2));
      BOOST_TEST(difference.ne(0).sum().item<int64_t>() < 32 * 31 * 3 / 10);
    }
}

BOOST_AUTO_TEST_CASE(threads_decode_at_once) {
  const Images images;
  for (const auto* name : {"color.jpg", "fine.jpg", "progressive.jpg"}) images.copy(name, std::string("a/") + name);
  const auto data = images.open();
  std::vector<Tensor> right;
  for (int64_t i = 0; i < 3; i++) right.push_back(image(data, i));
  std::vector<int> good(4);
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < good.size(); thread++)
    threads.emplace_back([&, thread] {
      for (int64_t round = 0; round < 30; round++) good[thread] += at::equal(image(data, round % 3), right[static_cast<size_t>(round % 3)]);
    });
  for (auto& thread : threads) thread.join();
  for (const int count : good) BOOST_TEST(count == 30);
}

BOOST_AUTO_TEST_SUITE_END()
