#pragma once
#include <functional>
#include <utility>

namespace levin {

/// An operation in progress. Do not read or write its tensors before wait() or synchronize(), which rethrow the operation's error. Dropping
/// a Work does not cancel its operation.
class Work {
 public:
  Work() = default;  ///< already complete
  /// `synchronize` is called after `wait`; empty if `wait` already makes the result readable by the host.
  explicit Work(std::function<void()> wait, std::function<void()> synchronize = {})
      : wait_(std::move(wait)), synchronize_(std::move(synchronize)) {}

  /// Makes the result usable by the caller's current stream. On a CPU, returns when the result is in memory; on a device, the stream waits,
  /// not the host.
  void wait() {
    if (auto wait = std::exchange(wait_, nullptr)) wait();
  }
  /// Makes the result readable by the host. The same as wait() on a CPU.
  void synchronize() {
    wait();
    if (auto synchronize = std::exchange(synchronize_, nullptr)) synchronize();
  }

 private:
  std::function<void()> wait_, synchronize_;
};

}  // namespace levin
