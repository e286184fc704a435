#pragma once
#include <cstdint>

namespace levin {

/// Why a rank wants the training to stop; or-ed over the ranks at every step.
/// `restart`: the job is to end, and another start goes on.
enum class StopReason : uint32_t { requested = 1, interrupted = 2, terminated = 4, time_over = 8, timer = 16, restart = 32 };

/// What ranks ask for and see at the same step. Reasons to stop are kept until they are forgotten, wishes for a validation or a
/// checkpoint likewise.
class StopAgreement {
 public:
  /// Asks for a stop, on any rank; all ranks see it in should_stop() after the same reduce().
  void request_stop(StopReason reason) noexcept { wanted_ |= static_cast<uint32_t>(reason); }
  /// Stops at once; all ranks call it at the same moment, as they can where they decide from the same values.
  void stop(StopReason reason) noexcept { agreed_ |= static_cast<uint32_t>(reason); }
  /// A new training begins: earlier wishes are forgotten.
  void forget_stop() noexcept { wanted_ = agreed_ = 0; }
  bool should_stop() const noexcept { return (agreed_ & stop_bits) != 0; }
  /// Whether any rank asked for a stop for this reason; agreed, as should_stop() is.
  bool stops_for(StopReason reason) const noexcept { return (agreed_ & static_cast<uint32_t>(reason)) != 0; }

  /// Whether the training is to end where it is, whatever it is meant to reach, and goes on in another start.
  bool told_to_end() const noexcept {
    return stops_for(StopReason::interrupted) || stops_for(StopReason::terminated) || stops_for(StopReason::restart);
  }

  /// Asks for a validation, on any rank; all ranks see it in validation_wanted() after the same reduce(), until it is forgotten.
  void request_validation() noexcept { wanted_ |= validation_bit; }
  bool validation_wanted() const noexcept { return (agreed_ & validation_bit) != 0; }
  void forget_validation() noexcept { forget(validation_bit); }
  /// The same for a checkpoint.
  void request_checkpoint() noexcept { wanted_ |= checkpoint_bit; }
  bool checkpoint_wanted() const noexcept { return (agreed_ & checkpoint_bit) != 0; }
  void forget_checkpoint() noexcept { forget(checkpoint_bit); }

 protected:
  /// This rank's wishes, for an or over the ranks, and what came of it.
  uint32_t wanted() const noexcept { return wanted_; }
  void agree(uint32_t wishes_of_all) noexcept { agreed_ |= wishes_of_all; }

 private:
  static constexpr uint32_t validation_bit = 1u << 16, checkpoint_bit = 1u << 17, stop_bits = validation_bit - 1;
  void forget(uint32_t bit) noexcept { wanted_ &= ~bit, agreed_ &= ~bit; }
  uint32_t wanted_ = 0, agreed_ = 0;
};

}  // namespace levin
