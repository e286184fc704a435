#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "levin/data/dataset.h"

namespace levin {

class Communicator;

namespace detail {
struct Pixels;
}

/// Height and width in pixels.
struct ImageSize {
  int64_t height = 0, width = 0;
  friend bool operator==(const ImageSize&, const ImageSize&) = default;
};

struct ImageFolderOptions {
  /// 3: RGB; 1: gray. Images of the other kind are converted.
  int64_t channels = 3;
  /// The shorter side after a bilinear resize without antialiasing that keeps the aspect; or both sides.
  std::optional<int64_t> resize_shorter = {};
  std::optional<ImageSize> resize = {};
  /// The centre of this size is cut out, after the resize.
  std::optional<ImageSize> crop = {};
  /// float32, value / 255, as torchvision's ToTensor; otherwise uint8.
  bool as_float = true;
  /// The names of the classes in the order of their numbers: those of the training for its validation and test data. Empty: the folders
  /// that there are, sorted.
  std::vector<std::string> classes = {};
  /// The images lie in the folder itself and have no classes.
  bool without_classes = false;
};

/// JPEG and PNG files in a folder for each class, ROOT/CLASS/….png, as torchvision's ImageFolder has them: classes are the sorted names of
/// the folders; files below a class's folder are sorted by folder and name. Hidden files and folders are left out, and files that are no
/// images. Files are decoded by the thread that asks for the batch. Batches: "image" [n, channels, height, width], "label" int64 [n]. EXIF
/// orientation is ignored, alpha is dropped, 16 bits are cut to 8.
class ImageFolder : public Dataset {
 public:
  /// Lists the files, and decodes the first: all images have its shape. Collective over `communicator` (rank 0 lists); null: local.
  /// DataError for a missing folder, a class without images or outside of `options.classes`, images of other formats (.webp, …), and an
  /// image that does not fit; UsageError for options that do not fit each other.
  explicit ImageFolder(const std::filesystem::path& folder, ImageFolderOptions options = {}, Communicator* communicator = nullptr);

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  /// DataError, with the file's path, for a corrupt file and for an image of another shape.
  void get(std::span<const int64_t> indices, Batch& into) const override;

  const std::vector<std::string>& classes() const noexcept { return options_.classes; }
  /// Of an image, relative to the folder.
  const std::string& file(int64_t index) const { return files_.at(static_cast<size_t>(index)); }

 private:
  void list();
  void check_options() const;
  std::string to_text() const;
  void read_text(const std::string& text);
  detail::Pixels read(const std::string& file) const;

  std::filesystem::path folder_;
  ImageFolderOptions options_;
  std::vector<std::string> files_;
  std::vector<int64_t> labels_;
  ImageSize shape_;
};

/// The classes of a folder: the sorted names of the folders in it, but hidden ones. DataError where it cannot be listed.
std::vector<std::string> image_folder_classes(const std::filesystem::path& folder);

}  // namespace levin
