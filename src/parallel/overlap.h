#pragma once
#include <memory>
#include <vector>

#include "levin/parallel/flat_group.h"

namespace levin::detail {

/// Starts the reductions of flat groups between hosts during a backward: a group's when the gradients of all its parameters are there,
/// and not before those of the groups behind it, which a backward fills first. So the order is the same on all ranks.
class Overlap {
 public:
  /// Watches the members of `groups`, which must outlive it and stay where they are.
  explicit Overlap(std::vector<FlatGroup>& groups);
  ~Overlap();
  Overlap(const Overlap&) = delete;
  Overlap& operator=(const Overlap&) = delete;

  /// The next backward is the last of its step.
  void begin();
  /// After a backward that began so: the rest, in order.
  void end();
  bool begun() const noexcept { return begun_; }

 private:
  struct Hook;
  void arrived(size_t group, size_t member);
  void start_ready();

  std::vector<FlatGroup>* groups_;
  std::vector<Tensor> watched_;
  std::vector<std::vector<char>> there_;  // whether a member's gradient has come
  std::vector<size_t> missing_;           // members of each group
  size_t next_ = 0;                       // groups from here on are started
  bool begun_ = false;
};

}  // namespace levin::detail
