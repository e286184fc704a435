#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"

namespace levin::detail {

/// The windows that a communicator has given out, so that tensors on them are read and written where they are, by all ranks of a node.
class WindowBook {
 public:
  /// A tensor's place: a window's number, or 0 outside all windows, and the bytes before the tensor in this rank's part.
  struct Location {
    uint64_t offset = 0;
    uint32_t window = 0;
  };

  /// This rank's part of a new window as a tensor [numel], which keeps the window alive.
  Tensor add(const std::shared_ptr<SharedWindow>& window, int rank, int64_t numel, at::ScalarType dtype);
  Location locate(const Tensor& tensor) const;
  /// Every rank's address of its tensor, when all places lie in one window; else empty. `tensor` is this rank's, and keeps the window.
  std::vector<std::byte*> addresses(const std::vector<Location>& locations, int rank, const Tensor& tensor) const;
  /// Address of `rank`'s tensor in this process, and what keeps it mapped; null where this rank has dropped the window.
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
