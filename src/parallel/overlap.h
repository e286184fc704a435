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

  /// The next backward is the last of a step of these groups.
  void begin(const std::vector<FlatGroup*>& groups);
  /// After a backward that began so: the rest, in order.
  void end();
  bool begun() const noexcept { return begun_; }

 private:
  struct Hook;
  struct Watched {
    FlatGroup* group;
    std::vector<char> there;  // whether a member's gradient has come
    size_t missing = 0;       // members
    bool expected = false;    // by the step that has begun
    bool started = false;
  };
  void arrived(Watched& watched, size_t member);
  void start_ready();

  std::vector<Watched> watched_;   // groups that are trained
  std::vector<Watched*> waiting_;  // of the step that has begun, the last to be started first
  bool begun_ = false;
};

}  // namespace levin::detail
