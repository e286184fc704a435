#pragma once
// What this process writes to standard error in a scope, such as a log's lines.
#include <stdio.h>
#include <unistd.h>

#include <string>

#include "levin_test.h"

namespace levin::test {

class CapturedStderr {
 public:
  CapturedStderr() : before_(dup(STDERR_FILENO)), file_(tmpfile()) {
    BOOST_REQUIRE(before_ >= 0 && file_ && dup2(fileno(file_), STDERR_FILENO) >= 0);
  }
  ~CapturedStderr() {
    fflush(stderr);
    dup2(before_, STDERR_FILENO);
    close(before_);
    fclose(file_);
  }
  CapturedStderr(const CapturedStderr&) = delete;
  CapturedStderr& operator=(const CapturedStderr&) = delete;

  std::string text() const {
    fflush(stderr);
    std::string found(static_cast<size_t>(lseek(fileno(file_), 0, SEEK_END)), '\0');
    BOOST_REQUIRE(pread(fileno(file_), found.data(), found.size(), 0) == static_cast<ssize_t>(found.size()));
    return found;
  }

 private:
  int before_;
  FILE* file_;
};

}  // namespace levin::test
