#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

namespace levin::detail {

/// Held by who uploads a spool: the training or levin-sync. SERVICE.lock beside the spool; on file systems without locks it locks nothing.
class SpoolLock {
 public:
  explicit SpoolLock(const std::filesystem::path& spool);
  ~SpoolLock();
  SpoolLock(const SpoolLock&) = delete;
  SpoolLock& operator=(const SpoolLock&) = delete;
  /// Whether another process holds it.
  bool busy() const noexcept { return busy_; }

 private:
  int file_ = -1;
  bool busy_ = false;
};

/// SERVICE.synced.json beside a spool: how far it is uploaded, and into which run. levin-sync reads and writes the same.
struct SpoolProgress {
  int64_t bytes = 0;
  std::string spool_id;  ///< of the spool's first line
  std::string run_id;

  static std::filesystem::path file(const std::filesystem::path& spool);
  /// Of the spool with this id and size. At the beginning where no such file exists, it is damaged, belongs to another spool, or has more
  /// bytes than the spool: a part of that would not be uploaded. Files of earlier versions have no id.
  static SpoolProgress load(const std::filesystem::path& spool, const std::string& id, int64_t size);
  /// Replaces the file. IoError.
  void save(const std::filesystem::path& spool) const;
};

}  // namespace levin::detail
