#pragma once
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "levin/parallel/flat_group.h"
#include "unit_runner.h"

namespace levin::detail {

/// Starts the reductions of flat groups during a backward: a group's when the gradients of all its parameters are there, and not before
/// those of the groups behind it, which a backward fills first. So the order is the same on all ranks, whatever part of the model each
/// uses.
class Overlap {
 public:
  struct Member {
    FlatGroup* group;
    UnitRunner* runner;                 ///< of its unit, or null
    std::vector<UnitRunner*> repeated;  ///< units whose repeated computations give it gradients once more
  };
  /// Watches the parameters of the groups that are trained. All must outlive it and stay where they are. `in_flight`: so many reductions
  /// of sharded gradients may be under way.
  Overlap(std::vector<Member> members, size_t in_flight);
  ~Overlap();
  Overlap(const Overlap&) = delete;
  Overlap& operator=(const Overlap&) = delete;

  /// A backward of these groups begins. `reduce`: it is the last of their step, or their gradients are sharded.
  void begin(const std::vector<FlatGroup*>& groups, bool reduce);
  bool begun() const noexcept { return begun_; }
  /// After a backward that began so: the rest, in order. `absent` as of FlatGroup::settle.
  void end(const std::vector<std::string>& names, std::vector<size_t>* absent);
  /// Whether nothing of a group's gradients is to come in this backward.
  bool complete(const FlatGroup& group) const;
  /// A computation was repeated, on which groups may have waited.
  void look_again() { start_ready(); }

 private:
  struct Hook;
  struct Watched {
    Member of;
    std::vector<char> there;  // whether a member's gradient has come
    size_t missing = 0;       // members
    bool expected = false;    // by the backward that has begun
    bool started = false;
  };
  void arrived(Watched& watched, size_t member);
  static bool ready(const Watched& watched);
  void start_ready();
  void start(Watched& watched);

  size_t in_flight_most_;
  std::vector<Watched> watched_;   // groups that are trained
  std::vector<Watched*> waiting_;  // of the backward that has begun, the last to be started first
  std::deque<FlatGroup*> in_flight_;
  bool begun_ = false, reduce_ = false;
};

}  // namespace levin::detail
