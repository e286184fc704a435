#pragma once
#include <memory>
#include <span>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"

namespace levin::detail {

/// The windows that a communicator has given out, so that tensors on them are read and written where they are, by all ranks of a node.
class WindowBook {
 public:
  /// A tensor's place, as told to the others. Window 0: in none.
  struct Place {
    double window = 0, offset = 0;
  };

  /// This rank's part of a new window as a tensor [numel], which keeps the window alive.
  Tensor add(const std::shared_ptr<SharedWindow>& window, int rank, int64_t numel, at::ScalarType dtype);
  Place locate(const Tensor& tensor) const;
  /// Every rank's address of its tensor, when all places lie in one window; else empty. `tensor` is this rank's, and keeps the window.
  std::vector<std::byte*> addresses(const std::vector<Place>& places, int rank, const Tensor& tensor) const;

 private:
  struct Entry {
    std::byte *begin, *end;
    double id;
    std::weak_ptr<SharedWindow> window;
  };
  std::vector<Entry> entries_;
  int made_ = 0;
};

}  // namespace levin::detail
