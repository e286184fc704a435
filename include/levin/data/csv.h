#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "levin/core/tensor.h"

namespace levin {

/// Columns of a CSV file that become one tensor: [rows] of one column, [rows, columns] of several.
struct CsvField {
  std::vector<std::string> columns;
  at::ScalarType dtype = at::ScalarType::Float;  ///< Float, Double or Long
};

/// Reads columns of a CSV or TSV file, plain or compressed by gzip, by the names in its first line; one tensor a field. The separator is,
/// if none is given, a tab in files named .tsv and .tsv.gz, a comma in others. Values are numbers, read exactly (levin/core/number_text.h),
/// in quotes or not; columns that no field names may hold anything. DataError, with path, line and column, for a name that is missing or
/// not unique, a line with more or fewer values than names, a value that does not parse as the field's dtype, an open quotation mark, and a
/// file without rows; IoError for a file that cannot be read.
std::vector<Tensor> read_csv(const std::filesystem::path& path, const std::vector<CsvField>& fields, std::optional<char> separator = {});

}  // namespace levin
