#pragma once
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "merged_trace.h"

namespace levin::detail {

/// Records the ranges of threads that Kineto does not see. Kineto can record all threads, but frees what it has recorded while a thread
/// is still adding to it.
class ThreadRanges {
 public:
  /// A range of the calling thread.
  void begin(std::string_view name);
  void end();

  /// Keeps the ranges that begin from now on.
  void record();
  /// Those that have ended; none are kept from now on.
  std::vector<ThreadRange> stop();
  /// Forgets all, also ranges that have not ended.
  void clear();

 private:
  std::mutex mutex_;
  bool recording_ = false;
  struct OpenRange {
    std::string name;
    int64_t begin;
    bool kept;
  };
  std::unordered_map<std::thread::id, std::vector<OpenRange>> open_;
  std::vector<ThreadRange> ended_;
};

}  // namespace levin::detail
