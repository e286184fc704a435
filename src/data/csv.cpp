#include "levin/data/csv.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cctype>
#include <string_view>

#include "byte_source.h"
#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"

namespace levin {
namespace {

// The lines of a CSV file, each cut into its values.
class CsvLines {
 public:
  CsvLines(const std::filesystem::path& path, char separator) : path_(path), separator_(separator) {
    const auto source = detail::ByteSource::open(path);
    constexpr size_t step = 1 << 22;
    for (size_t got = step; got == step;) {
      const size_t before = text_.size();
      text_.resize(before + step);
      got = source->read(std::as_writable_bytes(std::span(text_.data() + before, step)));
      text_.resize(before + got);
    }
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
  }

  /// The next line's values; false at the end. They are valid until the next call.
  bool next(std::vector<std::string>& values) {
    if (at_ >= text_.size()) return false;
    line_++;
    const size_t end = std::min(text_.find('\n', at_), text_.size());
    std::string_view line = std::string_view(text_).substr(at_, end - at_);
    if (line.ends_with('\r')) line.remove_suffix(1);
    at_ = end + 1;
    size_t count = 0;
    for (bool more = true; more; count++) {
      if (values.size() == count) values.emplace_back();
      more = take(line, values[count]);
    }
    values.resize(count);
    return true;
  }

  [[noreturn]] void fail(const std::string& why, const std::string& remedy) const {
    throw DataError(fmt::format("{}:{}: {}", path_.string(), line_, why), remedy);
  }
  int64_t line() const noexcept { return line_; }
  /// How many lines there are at most.
  int64_t most_lines() const { return std::count(text_.begin(), text_.end(), '\n') + 1; }

 private:
  // Cuts the first value off; whether a separator follows it.
  bool take(std::string_view& line, std::string& value) const {
    if (!line.starts_with('"')) {
      const size_t end = std::min(line.find(separator_), line.size());
      value.assign(line.substr(0, end));
      const bool more = end < line.size();
      line.remove_prefix(more ? end + 1 : end);
      return more;
    }
    value.clear();
    for (size_t i = 1;; i++) {
      if (i >= line.size()) fail("a quotation mark is not closed", "close it in the same line");
      if (line[i] != '"') {
        value += line[i];
      } else if (i + 1 < line.size() && line[i + 1] == '"') {
        value += line[i++];
      } else {
        line.remove_prefix(i + 1);
        break;
      }
    }
    if (line.empty()) return false;
    if (line.front() != separator_) fail("text follows a closed quotation mark", "write \"\" for a quotation mark inside a value");
    line.remove_prefix(1);
    return true;
  }

  const std::filesystem::path& path_;
  char separator_;
  std::string text_;
  size_t at_ = 0;
  int64_t line_ = 0;
};

// Where a field's values come from and go to.
struct CsvTarget {
  std::vector<size_t> columns;
  Tensor rows;
};

template <class T>
void parse_row(const CsvLines& lines, const std::vector<std::string>& names, const std::vector<std::string>& values,
               const std::vector<size_t>& columns, T* row) {
  constexpr const char* kind = std::is_integral_v<T> ? "an integer" : "a number";
  for (const size_t column : columns) {
    const auto number = parse_number<T>(values[column]);
    if (!number)
      lines.fail(fmt::format("{} in the column {} is not {}", quote(values[column]), quote(names[column]), kind),
                 std::is_integral_v<T> ? "write integers there, or read the column as float32" : "write a number in each row");
    *row++ = *number;
  }
}

// Compression keeps it: x.tsv.gz is a .tsv file.
char usual_separator(const std::filesystem::path& path) {
  std::string name = path.filename().string();
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name.ends_with(".tsv") || name.ends_with(".tsv.gz") ? '\t' : ',';
}

size_t csv_column(const CsvLines& lines, const std::vector<std::string>& names, const std::string& name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    constexpr size_t most = 12;
    const std::vector<std::string> some(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min(most, names.size())));
    lines.fail(fmt::format("the column {} is missing", quote(name)),
               fmt::format("name one of: {}{}", sanitized(joined(some)), names.size() > most ? ", ..." : ""));
  }
  if (std::find(found + 1, names.end(), name) != names.end())
    lines.fail(fmt::format("two columns are named {}", quote(name)), "give each column a different name");
  return static_cast<size_t>(found - names.begin());
}

}  // namespace

std::vector<Tensor> read_csv(const std::filesystem::path& path, const std::vector<CsvField>& fields, std::optional<char> separator) {
  CsvLines lines(path, separator.value_or(usual_separator(path)));
  std::vector<std::string> names, values;
  if (!lines.next(names)) throw DataError(fmt::format("{} is empty", path.string()), "write the columns' names into its first line");
  std::vector<CsvTarget> targets;
  const int64_t most_rows = lines.most_lines();
  for (const auto& field : fields) {
    CsvTarget target;
    for (const auto& column : field.columns) target.columns.push_back(csv_column(lines, names, column));
    target.rows = at::empty({most_rows, std::ssize(field.columns)}, at::TensorOptions().dtype(field.dtype));
    targets.push_back(std::move(target));
  }
  int64_t row = 0;
  while (lines.next(values)) {
    if (values.size() != names.size())
      lines.fail(fmt::format("the line has {} values, and the first line has {} names", values.size(), names.size()),
                 values.size() == 1 && values[0].empty() ? "remove the empty line" : "write a value for each column");
    for (const auto& [columns, rows] : targets) {
      const auto offset = row * std::ssize(columns);
      switch (rows.scalar_type()) {
        case at::kLong: parse_row(lines, names, values, columns, rows.mutable_data_ptr<int64_t>() + offset); break;
        case at::kDouble: parse_row(lines, names, values, columns, rows.mutable_data_ptr<double>() + offset); break;
        default: parse_row(lines, names, values, columns, rows.mutable_data_ptr<float>() + offset);
      }
    }
    row++;
  }
  if (row == 0) throw DataError(fmt::format("{} has no rows after its first line", path.string()), "write a line for each sample");
  std::vector<Tensor> tensors;
  for (const auto& [columns, rows] : targets) {
    const Tensor used = rows.narrow(0, 0, row);
    tensors.push_back(columns.size() == 1 ? used.squeeze(1) : used);
  }
  return tensors;
}

}  // namespace levin
