#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "levin/cli/file_data.h"

namespace levin::cli {

/// `--data idx`: an IDX file, plain or .gz, for each tensor of a batch. Every rank holds all of it in memory.
struct IdxDataConfig {
  PartArrays files = {};
  FileDataOptions options = {};
  /// ConfigError for options of tensors that no part has.
  void validate() const;
};
LEVIN_CONFIG(IdxDataConfig, (files, "files", flattened), (options, "batches", flattened))
LEVIN_CHOICE(IdxDataConfig, "idx")

class IdxData : public FileData {
 public:
  using Config = IdxDataConfig;
  explicit IdxData(const IdxDataConfig& config) : FileData(config.options), config_(config) {}

 protected:
  std::shared_ptr<const Dataset> open(Part part) const override;

 private:
  IdxDataConfig config_;
};

/// `--data csv`: columns of CSV and TSV files, plain or .gz, as float32 unless dtype names another. Every rank holds them in memory.
struct CsvDataConfig {
  using Columns = std::map<std::string, std::vector<std::string>>;
  PartFiles files = {};
  Columns batch = {}, predict_batch = {};
  std::optional<std::string> separator = {};
  FileDataOptions options = {};
  /// ConfigError where a batch has no tensors, a tensor has no columns, and for options of others.
  void validate() const;
};
LEVIN_CONFIG(CsvDataConfig, (files, "files", flattened),
             (batch, "tensors of a batch by column, as {x: [width, height], y: [price]}; a tensor of one column is [n]"),
             (predict_batch, "the same of the data to predict; none: as batch"),
             (separator, "the character between two values; null: a tab in files named .tsv and .tsv.gz, a comma in others"),
             (options, "batches", flattened))
LEVIN_CHOICE(CsvDataConfig, "csv")

class CsvData : public FileData {
 public:
  using Config = CsvDataConfig;
  explicit CsvData(const CsvDataConfig& config) : FileData(config.options), config_(config) {}

 protected:
  std::shared_ptr<const Dataset> open(Part part) const override;

 private:
  CsvDataConfig config_;
};

}  // namespace levin::cli
