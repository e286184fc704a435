#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace levin {

/// Why a rank wants the training to stop; or-ed over the ranks at every step.
/// `restart`: the job ends, and the next attempt resumes.
enum class StopReason : uint32_t { requested = 1, interrupted = 2, terminated = 4, time_over = 8, timer = 16, restart = 32 };

/// Requests of ranks that take effect on all ranks at the same step. Reasons to stop are kept until forget_stop, requests for a validation
/// or a checkpoint until they are forgotten.
class StopAgreement {
 public:
  /// Asks for a stop, on any rank; all ranks see it in should_stop() after the same reduce().
  void request_stop(StopReason reason) noexcept { wanted_ |= static_cast<uint32_t>(reason); }
  /// Stops at once; all ranks call it at the same moment, as they can where they decide from the same values.
  void stop(StopReason reason) noexcept { agreed_ |= static_cast<uint32_t>(reason); }
  /// A function of this rank that gives a reason to stop, or none. Every agreement calls it first, so that a signal counts in the step
  /// in which it arrives.
  using StopSource = std::function<std::optional<StopReason>()>;
  void add_stop_source(StopSource source) { sources_.push_back(std::move(source)); }
  /// A new training begins: earlier requests are forgotten.
  void forget_stop() noexcept { wanted_ = agreed_ = 0; }
  bool should_stop() const noexcept { return (agreed_ & stop_bits) != 0; }
  /// Whether any rank asked for a stop for this reason; agreed, as should_stop() is.
  bool stops_for(StopReason reason) const noexcept { return (agreed_ & static_cast<uint32_t>(reason)) != 0; }
  /// The agreed reasons that end a training for good: a restart with the same options finds it ended.
  uint32_t lasting_reasons() const noexcept { return agreed_ & lasting_bits; }
  void stop_again(uint32_t lasting_reasons) noexcept { agreed_ |= lasting_reasons & lasting_bits; }

  /// Whether the training must stop now, before its limits, to be resumed by another attempt.
  bool must_exit() const noexcept {
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
  /// The same for a second agreement at the end of the step, which is worth its time where steps are long.
  void request_late_agreement() noexcept { wanted_ |= late_bit; }
  bool late_agreement_wanted() const noexcept { return (agreed_ & late_bit) != 0; }
  void forget_late_agreement() noexcept { forget(late_bit); }
  /// The same for a comparison of the ranks' step times.
  void request_step_times() noexcept { wanted_ |= times_bit; }
  bool step_times_wanted() const noexcept { return (agreed_ & times_bit) != 0; }
  void forget_step_times() noexcept { forget(times_bit); }
  /// The same for an agreement before the next batch, which a rank may have to wait for.
  void request_data_wait() noexcept { wanted_ |= data_bit; }
  bool data_wait_wanted() const noexcept { return (agreed_ & data_bit) != 0; }
  void forget_data_wait() noexcept { forget(data_bit); }

 protected:
  /// This rank's requests, those of its stop sources included; and the result of or-ing them over the ranks.
  uint32_t local_requests() {
    for (const auto& source : sources_)
      if (const auto reason = source()) request_stop(*reason);
    return wanted_;
  }
  void set_agreed(uint32_t requests_of_all) noexcept { agreed_ |= requests_of_all; }

 private:
  static constexpr uint32_t validation_bit = 1u << 16, checkpoint_bit = 1u << 17, late_bit = 1u << 18, times_bit = 1u << 19,
                            data_bit = 1u << 20, stop_bits = validation_bit - 1;
  static constexpr uint32_t lasting_bits = static_cast<uint32_t>(StopReason::requested) | static_cast<uint32_t>(StopReason::time_over) |
                                           static_cast<uint32_t>(StopReason::timer);
  void forget(uint32_t bit) noexcept { wanted_ &= ~bit, agreed_ &= ~bit; }
  std::vector<StopSource> sources_;
  uint32_t wanted_ = 0, agreed_ = 0;
};

}  // namespace levin
