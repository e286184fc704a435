#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "levin/data/dataset.h"
#include "levin/data/hdf5_rows.h"

namespace levin {

struct Hdf5FilesOptions {
  /// Of names whose data sets hold texts: the texts in the order of their class numbers. Give those of the training to its validation and
  /// test data. A name that is missing here has the texts that occur in its data set, sorted.
  std::map<std::string, std::vector<std::string>> classes = {};
  /// Bytes of decoded chunks that are kept in memory, over all files and names.
  size_t cache_bytes = size_t{64} << 20;
  /// The data sets of names, as {{"x", "train/images"}}; that of a name that is missing here is the name itself.
  std::map<std::string, std::string> data_sets = {};
};

/// Data sets of one or more HDF5 files as one Dataset: the rows of the files, in the order of the files. A batch has a tensor of each name,
/// and a row for each index. Layouts and types: Hdf5Rows. Texts become class numbers, int64 [n].
class Hdf5Files : public Dataset {
 public:
  /// Opens all files. DataError for a data set that cannot be read or has no rows; where numbers of rows differ in a file; where shapes of
  /// rows or dtypes differ between files; for a text that is not one of the given classes, and classes of
  /// numbers. UsageError for options of unknown names.
  Hdf5Files(const std::vector<std::filesystem::path>& files, const std::vector<std::string>& names, const Hdf5FilesOptions& options = {});
  ~Hdf5Files() override;

  int64_t size() const override { return begins_.back(); }
  void get(std::span<const int64_t> indices, Batch& into) const override;

  /// The texts of a data set of texts: that of class i is classes(name)[i]. UsageError for others.
  const std::vector<std::string>& classes(const std::string& name) const;

 private:
  struct Column {
    std::string name;
    std::vector<std::unique_ptr<Hdf5Rows>> parts;  // of each file
    std::vector<std::string> classes;              // of texts
    std::vector<int64_t> numbers;                  // their class numbers, of all rows
    bool is_text() const noexcept { return parts.front()->is_text(); }
  };
  void check_part(const Column& column, const std::filesystem::path& file) const;
  static void number_texts(Column& column, const Hdf5FilesOptions& options);
  void read(const Column& column, std::span<const int64_t> indices, Batch& into) const;

  std::vector<Column> columns_;
  std::vector<int64_t> begins_;  // the first row of each file, and behind them the number of all rows
};

}  // namespace levin
