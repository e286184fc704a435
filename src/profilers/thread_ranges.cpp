#include "thread_ranges.h"

#include <unistd.h>

#include <utility>

namespace levin::detail {

void ThreadRanges::begin(std::string_view name) {
  const std::lock_guard lock(mutex_);
  open_[std::this_thread::get_id()].push_back({std::string(recording_ ? name : ""), nanoseconds_since_epoch(), recording_});
}

void ThreadRanges::end() {
  const std::lock_guard lock(mutex_);
  const auto found = open_.find(std::this_thread::get_id());
  if (found == open_.end() || found->second.empty()) return;
  OpenRange range = std::move(found->second.back());
  found->second.pop_back();
  if (recording_ && range.kept) ended_.push_back({std::move(range.name), gettid(), range.begin, nanoseconds_since_epoch()});
}

void ThreadRanges::record() {
  const std::lock_guard lock(mutex_);
  ended_.clear();
  recording_ = true;
  for (auto& [thread, ranges] : open_)
    for (auto& range : ranges) range.kept = false;  // of the recording before
}

std::vector<ThreadRange> ThreadRanges::stop() {
  const std::lock_guard lock(mutex_);
  recording_ = false;
  return std::exchange(ended_, {});
}

void ThreadRanges::clear() {
  const std::lock_guard lock(mutex_);
  recording_ = false;
  open_.clear();
  ended_.clear();
}

}  // namespace levin::detail
