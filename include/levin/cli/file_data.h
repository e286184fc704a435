#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "levin/cli/path_list.h"
#include "levin/core/config.h"
#include "levin/data/data_loader_options.h"
#include "levin/data/image_augmentation.h"
#include "levin/trainer/data_module.h"

namespace levin::cli {

enum class FieldDtype { float32, float64, int32, int64, uint8, boolean };
LEVIN_ENUM(FieldDtype, (float32, "float32"), (float64, "float64"), (int32, "int32"), (int64, "int64"), (uint8, "uint8"), (boolean, "bool"))

/// How the arrays of files become the tensors of a batch, by the tensors' names; and how batches are made.
struct FileDataOptions {
  std::map<std::string, FieldDtype> dtype = {};
  std::map<std::string, std::vector<int64_t>> shape = {};
  std::map<std::string, double> scale = {}, shift = {};
  int64_t val_samples = 0;
  std::optional<ImageAugmentationConfig> augmentation = {};
  DataLoaderOptions loader = {};

  /// ConfigError for names that are not among `names`, and for scaled integers.
  void check_names(const std::vector<std::string>& names) const;
};
LEVIN_CONFIG(FileDataOptions, (dtype, "dtypes of tensors, as {label: int64}; others keep the file's"),
             (shape, "shapes of samples, as {image: [1, 28, 28]}; others keep the file's", at_least(1)),
             (scale, "factors, as {image: 0.00392}: value * scale + shift, float32 unless dtype names another"),
             (shift, "numbers that are added after scaling"),
             (val_samples, "samples at the end of the training data that are kept for validation; instead of val", at_least(0)),
             (augmentation, "random changes of the images to train on, after shape, dtype, scale and shift; null: unchanged"),
             (loader, "how batches are made", flattened))

/// A data module over files: one data set each for training, validation, test and prediction, opened when a stage needs it. The
/// training's alone is augmented.
class FileData : public DataModule {
 public:
  /// Opens what the stage needs and reads a sample of each. DataError for files and values that do not fit; ConfigError for a training
  /// without files, and for an augmentation that does not fit the images.
  void setup(Stage stage) override;
  DataLoaderSpec train_dataloader() override { return {train_, options_.loader}; }
  DataLoaderSpec val_dataloader() override { return {val_, options_.loader}; }
  DataLoaderSpec test_dataloader() override { return {test_, options_.loader}; }
  DataLoaderSpec predict_dataloader() override { return {predict_, options_.loader}; }

 protected:
  enum class Part { train, val, test, predict };

  explicit FileData(const FileDataOptions& options) : options_(options) {}
  /// The samples of a part as they are in the files; null where no files are given for it.
  virtual std::shared_ptr<const Dataset> open(Part part) const = 0;
  const FileDataOptions& options() const noexcept { return options_; }

 private:
  void open_train_and_val(bool train);
  std::shared_ptr<const Dataset> converted(std::shared_ptr<const Dataset> data) const;
  std::shared_ptr<const Dataset> augmented(std::shared_ptr<const Dataset> data) const;

  FileDataOptions options_;
  std::shared_ptr<const Dataset> train_, val_, test_, predict_;
};

/// A file each for training, validation, test and prediction; none: no such data. Without `predict` the test data are predicted.
struct PartFiles {
  std::filesystem::path train = {}, val = {}, test = {}, predict = {};
};
LEVIN_CONFIG(PartFiles, (train, "file of the training data"), (val, "file of the validation data"), (test, "file of the test data"),
             (predict, "file of the data to predict; none: the test data"))

/// The same of formats whose files continue each other: their rows, in the order given, are one part.
struct PartFileLists {
  PathList train = {}, val = {}, test = {}, predict = {};
};
LEVIN_CONFIG(PartFileLists, (train, "file of the training data, or files, whose rows follow each other"),
             (val, "the same of the validation data"), (test, "the same of the test data"),
             (predict, "the same of the data to predict; none: the test data"))

/// The same of formats with one array in a file: files by the tensors' names, as {image: x.npy, label: y.npy}.
struct PartArrays {
  using Files = std::map<std::string, std::filesystem::path>;
  Files train = {}, val = {}, test = {}, predict = {};
};
LEVIN_CONFIG(PartArrays, (train, "files of the training data by the tensors' names, as {image: FILE, label: FILE}"),
             (val, "files of the validation data"), (test, "files of the test data"),
             (predict, "files of the data to predict; none: the test data"))

}  // namespace levin::cli
