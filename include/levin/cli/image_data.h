#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "levin/cli/file_data.h"

namespace levin::cli {

/// A folder each for training, validation, test and prediction. Without `predict` the test data are predicted.
struct PartFolders {
  std::filesystem::path train = {}, val = {}, test = {}, predict = {};
};
LEVIN_CONFIG(PartFolders, (train, "folder of the training data: a folder of images for each class"),
             (val, "the same of the validation data"), (test, "the same of the test data"),
             (predict, "the same of the data to predict, or a folder of images without classes; none: the test data"))

/// `--data image_folder`: JPEG and PNG files, decoded by the loader's threads. Images are float32 from 0 to 1, or uint8 where dtype says
/// so.
struct ImageFolderDataConfig {
  PartFolders folders = {};
  int64_t channels = 3;
  std::vector<int64_t> resize = {}, crop = {};
  std::vector<std::string> classes = {};
  std::map<std::string, std::string> batch = {{"image", "image"}, {"label", "label"}};
  FileDataOptions options = {};
  /// ConfigError for sizes of more than two numbers, other channels, a batch of anything but image and label, options of others, and
  /// tensors of the image of which only some are uint8.
  void validate() const;
};
LEVIN_CONFIG(ImageFolderDataConfig, (folders, "folders", flattened), (channels, "3: RGB; 1: gray", between(1, 3)),
             (resize, "bilinear, without antialiasing: [256] is the shorter side, [256, 320] height and width; none: as it is",
              at_least(1)),
             (crop, "the centre, after the resize: [224], or [height, width]; none: all of it", at_least(1)),
             (classes, "names of the classes' folders in the order of their numbers; none: those of the training data, sorted"),
             (batch, "tensors of a batch, each image or label, as {x: image, y: label}"), (options, "batches", flattened))
LEVIN_CHOICE(ImageFolderDataConfig, "image_folder")

class ImageFolderData : public FileData {
 public:
  using Config = ImageFolderDataConfig;
  explicit ImageFolderData(const ImageFolderDataConfig& config) : FileData(config.options), config_(config) {}

 protected:
  /// Collective: rank 0 lists the files.
  std::shared_ptr<const Dataset> open(Part part) const override;

 private:
  ImageFolderDataConfig config_;
};

}  // namespace levin::cli
