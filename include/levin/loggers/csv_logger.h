#pragma once
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "levin/trainer/logger.h"

namespace levin {

/// metrics.csv with the columns step, epoch, name, value: a line a value, so that a new metric needs no new column and nothing written
/// is ever written again. An existing file is continued. IoError when it cannot be written.
class CSVLogger : public Logger {
 public:
  explicit CSVLogger(std::filesystem::path file);
  void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) override;
  void finalize() override;

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  void flush();

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::chrono::steady_clock::time_point flushed_;
};

}  // namespace levin
