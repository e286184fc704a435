#pragma once
#include <memory>
#include <string>
#include <vector>

#include "levin/nn/unit_engine.h"
#include "levin/parallel/flat_group.h"

namespace levin {
class UnitBase;
}

namespace levin::detail {

class Overlap;
class UnitRunners;

/// Gathers a unit's parameters around its forward and its backward, and releases them when nothing of the unit is to come: all gradients of
/// its parameters and of its inputs are there.
class UnitRunner final : public UnitEngine {
 public:
  UnitRunner(UnitRunners& runners, UnitBase* unit, std::vector<FlatGroup*> groups);
  ~UnitRunner() override;

  void enter(const Tensors& for_each_input) override;
  void leave(const Tensors& for_each_output) override;
  void will_repeat() override;
  void repeated() override;

  const std::vector<FlatGroup*>& groups() const noexcept { return groups_; }
  /// Computations of its own that are to be repeated in a backward.
  int repeats() const noexcept { return repeats_; }
  void forget_repeats() noexcept { repeats_ = 0; }
  void release_if_done();
  void release();
  void start_gather();

 private:
  struct Call;
  void gather();
  void before_backward(Call& call);
  void after_input(Call& call);

  UnitRunners& runners_;
  std::weak_ptr<UnitBase> unit_;
  std::vector<FlatGroup*> groups_;
  std::vector<std::shared_ptr<Call>> calls_;  // that were entered and not left
  int active_ = 0;                            // calls whose backward is under way
  int repeats_ = 0;
};

/// All runners, and the order in which units are used.
class UnitRunners {
 public:
  struct Options {
    bool reshard_after_forward = true;
    size_t prefetch = 0;
  };
  explicit UnitRunners(Options options) : options_(options) {}

  UnitRunner* add(UnitBase* unit, std::vector<FlatGroup*> groups);
  void set_overlap(const Overlap* overlap, std::function<void()> look_again);

  const Options& options() const noexcept { return options_; }
  bool complete(const FlatGroup& group) const;
  /// A unit is used, in this direction: those that came next the last time are gathered ahead.
  void use(const UnitRunner& runner, bool forward);
  void repeated();
  /// After a backward, and before an update: what nobody uses is released.
  void release_all();
  /// A step is over.
  void start_again();

 private:
  void ahead(size_t position, bool forward);

  Options options_;
  std::vector<std::unique_ptr<UnitRunner>> runners_;
  std::vector<UnitRunner*> order_, seen_;  // of the forward before this one, and of this one
  const Overlap* overlap_ = nullptr;
  std::function<void()> look_again_;
};

}  // namespace levin::detail
