#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "levin/loggers/media_logger.h"
#include "levin/trainer/logger.h"

namespace levin {

namespace detail {
class Spool;
}

/// A logger that spools for a service; see tools/levin_sync. A run that resumes continues its spool, and the service's run. Images and
/// files are in spool/SERVICE.files.
class SpoolLogger : public Logger, public MediaLogger {
 public:
  /// Notes the end of a run that was not finalized.
  ~SpoolLogger() override;
  void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) override;
  /// The options one by one: {"trainer.max_epochs": "6"}. Spooled with what follows: an attempt that is refused leaves no trace.
  void log_hyperparams(const std::string& yaml) override;
  void begin_training(int64_t step) override;
  /// Nothing to save; flushes the spool.
  StateDict state_dict() override;
  /// Nothing for a run that failed before it logged something.
  void finalize() override;
  void set_end(RunEnd end) noexcept override { end_ = end; }
  /// An artifact. The file is opened now and copied by the logger's thread: replace it later, but do not overwrite it in place. DataError
  /// where it does not exist.
  void add_file(const std::string& name, const std::filesystem::path& file, int64_t step);

 protected:
  using Settings = std::vector<std::pair<std::string, std::string>>;
  /// `name` empty: that of the folder.
  SpoolLogger(const std::string& service, const std::filesystem::path& folder, const std::string& name, const std::string& prefix,
              const Settings& settings, const std::vector<std::string>& tags);
  detail::Spool& spool() noexcept { return *spool_; }
  RunEnd end() const noexcept { return end_; }
  /// Whether something was spooled since the last end.
  bool open() const noexcept { return open_; }
  /// After new lines of the spool.
  virtual void spooled() {}

 private:
  void write_text(const Entry& entry, const std::string& text) override;
  void write_histogram(const Entry& entry, const std::vector<detail::HistogramBucket>& buckets) override;
  void write_image(const Entry& entry, const detail::PngImage& image) override;
  /// Calls `write`, which spools something.
  template <class Write>
  void spool_by(const Write& write);

  std::string prefix_;
  std::unique_ptr<detail::Spool> spool_;
  std::atomic<RunEnd> end_ = RunEnd::finished;
  std::atomic<bool> open_ = false;
};

}  // namespace levin
