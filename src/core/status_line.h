#pragma once
#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace levin::detail {

/// Columns of the terminal that a file is; where it is none, or does not say, the variable COLUMNS, or 80.
size_t terminal_columns(int file);

/// As much of a text in UTF-8 as has these columns. Control characters, which would move the cursor, are "?".
std::string cut_to_columns(std::string_view text, size_t columns);

/// Lines at the bottom of a terminal that are redrawn, below all that is printed. One write for each call, so that nothing flickers; calls
/// of several threads take turns.
class StatusLine {
 public:
  using Write = std::function<void(const std::string&)>;
  using Columns = std::function<size_t()>;
  StatusLine(Write write, Columns columns) : write_(std::move(write)), columns_(std::move(columns)) {}
  /// On an open file, 2 say.
  explicit StatusLine(int file);

  /// In place of the lines shown so far; each is cut to the terminal's width. None: erases them.
  void show(const std::vector<std::string>& lines);
  /// Whole lines, above those shown.
  void print(std::string_view lines);
  /// The lines shown stay, and what follows begins below them.
  void finish();
  size_t columns() const { return columns_(); }

 private:
  /// Moves the cursor to the beginning of the lines shown.
  std::string to_beginning() const;
  std::string drawn() const;

  const Write write_;
  const Columns columns_;
  std::mutex mutex_;
  std::vector<std::string> shown_;
};

}  // namespace levin::detail
