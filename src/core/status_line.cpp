#include "status_line.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <utility>

#include "levin/core/number_text.h"

namespace levin::detail {
namespace {

struct TerminalCharacter {
  size_t bytes, columns;
};

// The first of a text. From U+1100 on there are characters of two columns; all are taken for that, since a line may be short but not wrap.
TerminalCharacter first_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t expected = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  size_t bytes = 1;
  while (bytes < std::min(expected, text.size()) && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) bytes++;
  const bool beyond_1100 = lead > 0xE1 || (lead == 0xE1 && bytes == 3 && static_cast<unsigned char>(text[1]) >= 0x84);
  return {bytes, beyond_1100 ? size_t{2} : size_t{1}};
}

size_t columns_of(std::string_view text) {
  size_t columns = 0;
  while (!text.empty()) {
    const auto first = first_character(text);
    columns += first.columns;
    text.remove_prefix(first.bytes);
  }
  return columns;
}

void write_to_file(int file, std::string_view text) {
  while (!text.empty()) {
    const auto bytes = ::write(file, text.data(), text.size());
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) return;  // nobody can be told
    text.remove_prefix(static_cast<size_t>(bytes));
  }
}

}  // namespace

size_t terminal_columns(int file) {
  winsize size{};
  if (ioctl(file, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* text = std::getenv("COLUMNS");
  const auto columns = text ? parse_number<uint16_t>(text) : std::nullopt;
  return columns && *columns > 0 ? *columns : 80;
}

std::string cut_to_columns(std::string_view text, size_t columns) {
  std::string cut;
  while (!text.empty()) {
    const auto first = first_character(text);
    if (first.columns > columns) break;
    const auto lead = static_cast<unsigned char>(text[0]);
    if (lead < 0x20 || lead == 0x7F)
      cut += '?';
    else
      cut += text.substr(0, first.bytes);
    columns -= first.columns;
    text.remove_prefix(first.bytes);
  }
  return cut;
}

StatusLine::StatusLine(int file)
    : StatusLine([file](const std::string& text) { write_to_file(file, text); }, [file] { return terminal_columns(file); }) {}

// A terminal that has become narrower has wrapped them.
std::string StatusLine::to_beginning() const {
  if (shown_.empty()) return {};
  size_t rows = 0;
  const auto columns = std::max<size_t>(1, columns_());
  for (const auto& line : shown_) rows += 1 + (std::max<size_t>(1, columns_of(line)) - 1) / columns;
  return rows > 1 ? fmt::format("\r\033[{}A", rows - 1) : "\r";
}

std::string StatusLine::drawn() const {
  std::string text;
  for (const auto& line : shown_) text += (text.empty() ? "" : "\n") + line + "\033[K";
  return text;
}

void StatusLine::show(const std::vector<std::string>& lines) {
  const std::lock_guard lock(mutex_);
  if (lines.empty() && shown_.empty()) return;
  auto text = to_beginning();
  const bool fewer = lines.size() < shown_.size();
  shown_.clear();
  // A last column that is written makes some terminals wrap.
  for (const auto& line : lines) shown_.push_back(cut_to_columns(line, columns_() - std::min<size_t>(1, columns_())));
  text += drawn();
  if (fewer) text += "\033[J";
  write_(text);
}

void StatusLine::print(std::string_view lines) {
  const std::lock_guard lock(mutex_);
  write_(shown_.empty() ? std::string(lines) : to_beginning() + "\033[J" + std::string(lines) + drawn());
}

void StatusLine::finish() {
  const std::lock_guard lock(mutex_);
  if (shown_.empty()) return;
  shown_.clear();
  write_("\n");
}

}  // namespace levin::detail
