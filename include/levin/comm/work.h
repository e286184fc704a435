#pragma once
#include <functional>
#include <utility>

namespace levin {

/// An operation under way. Its tensors must not be read or written before wait() or synchronize(). Both throw what the operation threw.
/// A Work that is dropped does not end its operation.
class Work {
 public:
  Work() = default;  ///< already complete
  /// `synchronize` is called after `wait`; empty where `wait` has made the result readable by the host.
  explicit Work(std::function<void()> wait, std::function<void()> synchronize = {})
      : wait_(std::move(wait)), synchronize_(std::move(synchronize)) {}

  /// Makes the result usable by the caller's current stream. On a CPU it returns when the result is in memory; on a device the stream
  /// waits, not the host.
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
