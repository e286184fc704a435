#pragma once
#include <filesystem>
#include <memory>

#include "levin/trainer/logger.h"

namespace levin {

namespace detail {
class LogFile;
}

/// metrics.csv with the columns step, epoch, name, value: a line a value, so that a new metric needs no new column and nothing written
/// is ever written again. An existing file is continued. IoError when it cannot be written.
class CSVLogger : public Logger {
 public:
  explicit CSVLogger(std::filesystem::path file);
  ~CSVLogger() override;
  void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) override;
  void finalize() override;

 private:
  std::unique_ptr<detail::LogFile> file_;
};

}  // namespace levin
