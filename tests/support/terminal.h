#pragma once
// A real pseudo-terminal, and what a person sees on it.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "levin_test.h"

namespace levin::test {

/// The lines on a terminal, which has rows without end, after some bytes. Knows the line feed, the carriage return, and the sequences that
/// move the cursor up (A), erase to the end of the line (K) and erase all from the cursor on (J).
inline std::vector<std::string> lines_on_terminal(const std::string& bytes, size_t columns) {
  std::vector<std::vector<std::string>> rows(1);  // of characters
  size_t row = 0, column = 0;
  const auto down = [&] {
    if (++row == rows.size()) rows.emplace_back();
  };
  for (size_t i = 0; i < bytes.size(); i++) {
    const char c = bytes[i];
    if (c == '\r') {
      column = 0;
    } else if (c == '\n') {
      down();
      column = 0;  // as a terminal's driver has it
    } else if (c == '\033') {
      size_t end = i + 2;
      while (end < bytes.size() && std::isdigit(static_cast<unsigned char>(bytes[end]))) end++;
      BOOST_REQUIRE(end < bytes.size());
      const auto number = static_cast<size_t>(std::atoi(bytes.c_str() + i + 2));
      if (bytes[end] == 'A') {
        row -= std::min(row, std::max<size_t>(1, number));
      } else {
        BOOST_REQUIRE((bytes[end] == 'K' || bytes[end] == 'J'));
        rows[row].resize(std::min(column, rows[row].size()));
        if (bytes[end] == 'J') rows.resize(row + 1);
      }
      i = end;
    } else if ((static_cast<unsigned char>(c) & 0xC0) == 0x80) {
      rows[row][column - 1] += c;  // UTF-8
    } else {
      if (column == columns) {
        column = 0;
        down();
      }
      if (rows[row].size() <= column) rows[row].resize(column + 1, " ");
      rows[row][column++] = std::string(1, c);
    }
  }
  std::vector<std::string> lines;
  for (const auto& characters : rows) {
    std::string line;
    for (const auto& character : characters) line += character;
    lines.push_back(line);
  }
  return lines;
}

/// A terminal of this width. What is written to its file is kept.
class PseudoTerminal {
 public:
  explicit PseudoTerminal(uint16_t columns) : columns_(columns), master_(posix_openpt(O_RDWR | O_NOCTTY)) {
    BOOST_REQUIRE(master_ >= 0);
    BOOST_REQUIRE(grantpt(master_) == 0);
    BOOST_REQUIRE(unlockpt(master_) == 0);
    file_ = open(ptsname(master_), O_RDWR | O_NOCTTY);
    BOOST_REQUIRE(file_ >= 0);
    const winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    BOOST_REQUIRE(ioctl(master_, TIOCSWINSZ, &size) == 0);
    reader_ = std::thread([this] {
      std::array<char, 4096> part{};
      for (ssize_t count = 0; (count = ::read(master_, part.data(), part.size())) > 0;)
        bytes_.append(part.data(), static_cast<size_t>(count));
    });
  }
  ~PseudoTerminal() { end(); }
  PseudoTerminal(const PseudoTerminal&) = delete;
  PseudoTerminal& operator=(const PseudoTerminal&) = delete;

  int file() const noexcept { return file_; }
  /// Closes it.
  std::vector<std::string> lines() {
    end();
    return lines_on_terminal(bytes_, columns_);
  }

 private:
  // The master's read ends, with an error, when no file of the terminal is open any more.
  void end() {
    if (!reader_.joinable()) return;
    close(file_);
    reader_.join();
    close(master_);
  }

  size_t columns_;
  int master_ = -1, file_ = -1;
  std::string bytes_;
  std::thread reader_;
};

/// Standard error is another file, in its life.
class StandardErrorAs {
 public:
  explicit StandardErrorAs(int file) : before_(dup(STDERR_FILENO)) { dup2(file, STDERR_FILENO); }
  ~StandardErrorAs() {
    dup2(before_, STDERR_FILENO);
    close(before_);
  }
  StandardErrorAs(const StandardErrorAs&) = delete;
  StandardErrorAs& operator=(const StandardErrorAs&) = delete;

 private:
  int before_;
};

}  // namespace levin::test
