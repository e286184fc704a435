#pragma once
#include <cstdint>

namespace levin {

/// Why a rank wants the training to stop; or-ed over the ranks at every step.
enum class StopReason : uint32_t { requested = 1, interrupted = 2, terminated = 4, time_over = 8, timer = 16 };

/// What ranks ask for and see at the same step. Reasons to stop are kept until they are forgotten, a wish for a validation likewise.
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

  /// Asks for a validation, on any rank; all ranks see it in validation_wanted() after the same reduce(), until it is forgotten.
  void request_validation() noexcept { wanted_ |= validation_bit; }
  bool validation_wanted() const noexcept { return (agreed_ & validation_bit) != 0; }
  void forget_validation() noexcept { wanted_ &= stop_bits, agreed_ &= stop_bits; }

 protected:
  /// This rank's wishes, for an or over the ranks, and what came of it.
  uint32_t wanted() const noexcept { return wanted_; }
  void agree(uint32_t wishes_of_all) noexcept { agreed_ |= wishes_of_all; }

 private:
  static constexpr uint32_t validation_bit = 1u << 16, stop_bits = validation_bit - 1;
  uint32_t wanted_ = 0, agreed_ = 0;
};

}  // namespace levin
