#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"

namespace levin::detail {

/// The windows that a communicator has allocated. It translates tensors to window locations, so that all ranks of a node access them in
/// place.
class WindowBook {
 public:
  /// The location of a tensor: id of its window (0: in no window), and byte offset in the rank's part.
  struct Location {
    uint64_t offset = 0;
    uint32_t window = 0;
  };

  /// Registers a window and returns this rank's part as a tensor [numel], which keeps the window alive.
  Tensor add(const std::shared_ptr<SharedWindow>& window, int rank, int64_t numel, at::ScalarType dtype);
  Location locate(const Tensor& tensor) const;
  /// The addresses of all ranks' tensors if they lie in one window, else empty. `tensor` is this rank's, and keeps the window alive.
  std::vector<std::byte*> addresses(const std::vector<Location>& locations, int rank, const Tensor& tensor) const;
  /// The address of `rank`'s tensor in this process, and its window; null if this rank has dropped the window.
  std::pair<const std::byte*, std::shared_ptr<SharedWindow>> find(const Location& location, int rank) const;

 private:
  struct Entry {
    std::byte *begin, *end;
    uint32_t id;
    std::weak_ptr<SharedWindow> window;
  };
  std::vector<Entry> entries_;
  uint32_t windows_ = 0;
};

}  // namespace levin::detail
