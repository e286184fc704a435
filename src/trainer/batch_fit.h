#pragma once
#include <exception>

#include "levin/trainer/training_trial.h"

namespace levin {

class Session;

/// Thrown on all ranks where a batch of a trial does not fit on one of them.
struct UnfitBatch {
  BatchFit fit;
};

/// The ranks' agreement on whether a batch of a trial fits. Once in every micro-batch, before anything else is communicated, so only where
/// forward and backward communicate nothing.
class BatchFitAgreement {
 public:
  /// `may_not_fit`: as in TrialOptions. `communicates`: forward or backward do.
  BatchFitAgreement(Session& session, bool may_not_fit, bool communicates);
  /// Whether the ranks agree at all.
  bool agrees() const noexcept { return agrees_; }

  void begin_batch() noexcept { agreed_ = false; }
  /// UnfitBatch with the worst of all ranks. Collective.
  void agree(BatchFit fit);
  /// In a handler of what a batch has thrown: throws it again, or, where it says that the batch does not fit, UnfitBatch. Collective with
  /// agree.
  [[noreturn]] void refuse(const std::exception& error);
  /// Of a micro-batch that has not agreed.
  void end_batch();

 private:
  Session& session_;
  bool may_not_fit_, agrees_, agreed_ = false;
};

}  // namespace levin
