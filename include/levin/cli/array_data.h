#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "levin/cli/file_data.h"

namespace levin::cli {

/// `--data hdf5`: data sets of HDF5 files, of any layout that Hdf5Files reads, in ranges.
struct Hdf5DataConfig {
  PartFileLists files = {};
  std::map<std::string, std::string> batch = {}, predict_batch = {};
  std::map<std::string, std::vector<std::string>> classes = {};
  Bytes chunk_cache = {64 << 20};
  FileDataOptions options = {};
  /// ConfigError where a batch has no tensors, and for options of others.
  void validate() const;
};
LEVIN_CONFIG(Hdf5DataConfig, (files, "files", flattened),
             (batch, "tensors of a batch by data set, as {image: train/images, label: labels}"),
             (predict_batch, "the same of the data to predict; none: as batch"),
             (classes,
              "texts of a tensor in the order of their class numbers, as {label: [cat, dog]}; none: those of the training data, sorted"),
             (chunk_cache, "memory of a rank for decoded chunks, of each part"), (options, "batches", flattened))
LEVIN_CHOICE(Hdf5DataConfig, "hdf5")

class Hdf5Data : public FileData {
 public:
  using Config = Hdf5DataConfig;
  explicit Hdf5Data(const Hdf5DataConfig& config) : FileData(config.options), config_(config) {}

 protected:
  /// ConfigError for texts whose class numbers nothing gives.
  std::shared_ptr<const Dataset> open(Part part) const override;

 private:
  std::vector<std::string> training_classes(const std::string& name) const;

  Hdf5DataConfig config_;
};

/// `--data safetensors`: tensors of a safetensors file, or of a model.safetensors.index.json, read in ranges. fp8 is read where dtype names
/// float32 or float64.
struct SafetensorsDataConfig {
  PartFiles files = {};
  std::map<std::string, std::string> batch = {}, predict_batch = {};
  FileDataOptions options = {};
  /// As Hdf5DataConfig's.
  void validate() const;
};
LEVIN_CONFIG(SafetensorsDataConfig, (files, "files", flattened),
             (batch, "tensors of a batch by the file's names, as {image: images, label: labels}"),
             (predict_batch, "the same of the data to predict; none: as batch"), (options, "batches", flattened))
LEVIN_CHOICE(SafetensorsDataConfig, "safetensors")

class SafetensorsData : public FileData {
 public:
  using Config = SafetensorsDataConfig;
  explicit SafetensorsData(const SafetensorsDataConfig& config) : FileData(config.options), config_(config) {}

 protected:
  std::shared_ptr<const Dataset> open(Part part) const override;

 private:
  SafetensorsDataConfig config_;
};

/// `--data npy`: a .npy file for each tensor of a batch, read in ranges.
struct NpyDataConfig {
  PartArrays files = {};
  FileDataOptions options = {};
  /// ConfigError for options of tensors that no part has.
  void validate() const;
};
LEVIN_CONFIG(NpyDataConfig, (files, "files", flattened), (options, "batches", flattened))
LEVIN_CHOICE(NpyDataConfig, "npy")

class NpyData : public FileData {
 public:
  using Config = NpyDataConfig;
  explicit NpyData(const NpyDataConfig& config) : FileData(config.options), config_(config) {}

 protected:
  std::shared_ptr<const Dataset> open(Part part) const override;

 private:
  NpyDataConfig config_;
};

}  // namespace levin::cli
