#include "levin/data/image_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <set>

#include "../core/file.h"
#include "image_formats.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {
namespace {

namespace fs = std::filesystem;

std::string extension_of(const fs::path& file) {
  std::string extension = file.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension;
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

template <size_t N>
bool is_among(const std::string& extension, const std::array<std::string_view, N>& extensions) {
  return std::find(extensions.begin(), extensions.end(), extension) != extensions.end();
}

// Whether it is an image that is read. Those that would be left out in silence are refused.
bool is_image(const fs::path& file) {
  constexpr std::array<std::string_view, 3> read{".jpg", ".jpeg", ".png"};
  constexpr std::array<std::string_view, 7> others{".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"};
  const auto extension = extension_of(file);
  if (is_among(extension, others))
    throw DataError(fmt::format("{} is a {} file, which Levin does not read", file.string(), extension), "convert it to PNG or JPEG");
  return is_among(extension, read);
}

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::error_code error;
  auto entries = detail::list_directory(folder, error);
  if (error) throw DataError(fmt::format("cannot list the folder {}: {}", folder.string(), error.message()), "name a folder of images");
  std::erase_if(entries, is_hidden);
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.native() < b.native(); });
  return entries;
}

// A folder that were left out would give the classes after it other numbers.
bool is_folder(const fs::path& entry) {
  std::error_code error;
  const auto status = fs::status(entry, error);
  if (error)
    throw DataError(fmt::format("cannot examine {}: {}", entry.string(), error.message()), "repair it, or remove it from the images");
  return fs::is_directory(status);
}

struct FoundImages {
  std::vector<std::pair<std::string, std::string>> files;  // folder and name
  std::set<fs::path> seen;                                 // folders, so that cycles of links end
};

void find_images(const fs::path& folder, FoundImages& found) {
  const auto entries = sorted_entries(folder);
  std::error_code error;
  const auto real = fs::canonical(folder, error);
  if (error) throw DataError(fmt::format("cannot examine {}: {}", folder.string(), error.message()), "name a folder of images");
  if (!found.seen.insert(real).second) return;
  for (const auto& entry : entries) {
    if (is_folder(entry))
      find_images(entry, found);
    else if (is_image(entry))
      found.files.emplace_back(folder.string(), entry.filename().string());
  }
}

std::vector<fs::path> class_folders(const fs::path& folder) {
  auto folders = sorted_entries(folder);
  std::erase_if(folders, [](const auto& entry) { return !is_folder(entry); });
  return folders;
}

}  // namespace

std::vector<std::string> image_folder_classes(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : class_folders(folder)) names.push_back(entry.filename().string());
  for (const auto& name : names)
    if (name.find('\n') != std::string::npos)
      throw DataError(fmt::format("{} has a line break in a folder's name: {}", folder.string(), quote(name)), "rename it");
  return names;
}

ImageFolder::ImageFolder(const fs::path& folder, ImageFolderOptions options, Communicator* communicator)
    : folder_(folder), options_(std::move(options)) {
  check_options();
  std::string text;
  on_all_ranks(communicator, "data", [&] {
    if (communicator && communicator->rank() != 0) return;
    list();
    text = to_text();
  });
  if (communicator) read_text(broadcast_text(communicator, std::move(text)));
  on_all_ranks(communicator, "data", [&] {
    const auto first = read(files_.front());
    shape_ = {first.height, first.width};
  });
}

void ImageFolder::check_options() const {
  const auto positive = [](const std::optional<ImageSize>& size) { return !size || (size->height > 0 && size->width > 0); };
  if (options_.channels != 1 && options_.channels != 3)
    throw UsageError("data", fmt::format("images of {} channels", options_.channels), "give 1 (gray) or 3 (RGB)");
  if (!positive(options_.resize) || !positive(options_.crop) || options_.resize_shorter.value_or(1) <= 0)
    throw UsageError("data", "a size of images is not positive", "give sizes in pixels");
  if (options_.resize && options_.resize_shorter) throw UsageError("data", "resize and resize_shorter are both given", "give one of them");
}

void ImageFolder::list() {
  const auto add = [&](const fs::path& folder, int64_t label, const std::string& what) {
    FoundImages found;
    find_images(folder, found);
    std::sort(found.files.begin(), found.files.end());
    if (found.files.empty()) throw DataError(fmt::format("{} has no JPEG or PNG files", what), "add images, or remove the folder");
    for (const auto& [in, name] : found.files) {
      auto file = (fs::path(in) / name).lexically_relative(folder_).string();
      if (file.find('\n') != std::string::npos)
        throw DataError(fmt::format("{} has a line break in a file's name: {}", folder_.string(), quote(file)), "rename it");
      files_.push_back(std::move(file));
      labels_.push_back(label);
    }
  };
  if (options_.without_classes) return add(folder_, 0, folder_.string());
  const auto names = image_folder_classes(folder_);
  if (names.empty())
    throw DataError(fmt::format("{} has no folders; each class has a folder of images", folder_.string()),
                    "name the folder that holds the classes' folders");
  if (options_.classes.empty()) options_.classes = names;
  for (const auto& name : names) {
    const auto number = std::find(options_.classes.begin(), options_.classes.end(), name);
    if (number == options_.classes.end())
      throw DataError(fmt::format("{} has the class {}, which is not one of the {} given classes", folder_.string(), quote(name),
                                  options_.classes.size()),
                      "remove the folder, or add it to the training data, too");
    add(folder_ / name, number - options_.classes.begin(), (folder_ / name).string());
  }
}

// A line for each class, an empty line, then one for each file.
std::string ImageFolder::to_text() const {
  std::string text;
  for (const auto& name : options_.classes) text += name + "\n";
  text += "\n";
  for (size_t i = 0; i < files_.size(); ++i) text += fmt::format("{} {}\n", labels_[i], files_[i]);
  return text;
}

void ImageFolder::read_text(const std::string& text) {
  options_.classes.clear(), files_.clear(), labels_.clear();
  bool in_classes = true;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    auto line = text.substr(begin, end - begin);
    begin = end + 1;
    if (in_classes && line.empty()) {
      in_classes = false;
    } else if (in_classes) {
      options_.classes.push_back(std::move(line));
    } else {
      const size_t space = line.find(' ');
      labels_.push_back(std::stoll(line.substr(0, space)));
      files_.push_back(line.substr(space + 1));
    }
  }
}

detail::Pixels ImageFolder::read(const std::string& name) const {
  const auto path = folder_ / name;
  std::error_code error;
  const auto real = fs::canonical(path, error);  // a link to an image is welcome
  const auto file = detail::File::open_to_read(error ? path : real, "data");
  std::vector<std::byte> bytes(file.size());
  file.read_at(bytes.data(), bytes.size(), 0);
  detail::Pixels pixels;
  try {
    if (detail::is_jpeg(bytes))
      detail::decode_jpeg(bytes, pixels);
    else if (detail::is_png(bytes))
      detail::decode_png(bytes, pixels);
    else
      throw detail::CorruptImage("is neither JPEG nor PNG");
  } catch (const detail::CorruptImage& corrupt) {
    throw DataError(fmt::format("{} is corrupt: {}", path.string(), sanitized(corrupt.what())), "copy the image again, or remove it");
  }
  detail::convert_channels(pixels, options_.channels);
  std::optional<ImageSize> target = options_.resize;
  if (options_.resize_shorter) {
    const auto [height, width] = std::pair(pixels.height, pixels.width);
    const int64_t shorter = *options_.resize_shorter;
    target = height < width ? ImageSize{shorter, shorter * width / height} : ImageSize{shorter * height / width, shorter};
  }
  if (target && *target != ImageSize{pixels.height, pixels.width}) {
    detail::Pixels resized;
    detail::resize_bilinear(pixels, target->height, target->width, resized);
    pixels = std::move(resized);
  }
  if (!options_.crop) return pixels;
  const auto [height, width] = *options_.crop;
  if (pixels.height < height || pixels.width < width)
    throw DataError(
        fmt::format("{} has {} x {} pixels, fewer than the crop of {} x {}", path.string(), pixels.height, pixels.width, height, width),
        "resize the images first, or crop less");
  // Python's round, which torchvision uses, rounds halves to even.
  const auto top = static_cast<int64_t>(std::nearbyint(static_cast<double>(pixels.height - height) / 2)),
             left = static_cast<int64_t>(std::nearbyint(static_cast<double>(pixels.width - width) / 2));
  detail::Pixels cropped{height, width, pixels.channels, {}};
  for (int64_t row = 0; row < height; ++row) {
    const auto begin = pixels.values.begin() + ((top + row) * pixels.width + left) * pixels.channels;
    cropped.values.insert(cropped.values.end(), begin, begin + width * pixels.channels);
  }
  return cropped;
}

void ImageFolder::get(std::span<const int64_t> indices, Batch& into) const {
  const int64_t rows = std::ssize(indices), channels = options_.channels, area = shape_.height * shape_.width;
  const Tensor images =
      reuse_tensor(into, "image", {rows, channels, shape_.height, shape_.width}, options_.as_float ? at::kFloat : at::kByte);
  int64_t* labels = nullptr;
  if (!options_.without_classes) labels = reuse_tensor(into, "label", {rows}, at::kLong).mutable_data_ptr<int64_t>();
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t index = indices[static_cast<size_t>(row)];
    if (index < 0 || index >= size())
      throw UsageError("data", fmt::format("sample {} is out of range: the data set has {}", index, size()));
    const auto& file = files_[static_cast<size_t>(index)];
    const auto pixels = read(file);
    if (ImageSize{pixels.height, pixels.width} != shape_)
      throw DataError(fmt::format("{} has {} x {} pixels, {} has {} x {}", (folder_ / file).string(), pixels.height, pixels.width,
                                  files_.front(), shape_.height, shape_.width),
                      "give a crop, or a resize of both sides, that makes them equal");
    const auto* from = pixels.values.data();
    const auto copy = [&](auto* to, auto convert) {  // channels apart from each other
      to += row * channels * area;
      for (int64_t channel = 0; channel < channels; ++channel)
        for (int64_t i = 0; i < area; ++i) *to++ = convert(from[i * channels + channel]);
    };
    if (options_.as_float)
      copy(images.mutable_data_ptr<float>(), [](uint8_t value) { return static_cast<float>(value) / 255.0F; });
    else
      copy(images.mutable_data_ptr<uint8_t>(), [](uint8_t value) { return value; });
    if (labels) labels[row] = labels_[static_cast<size_t>(index)];
  }
}

}  // namespace levin
