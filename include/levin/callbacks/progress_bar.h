#pragma once
#include <chrono>
#include <functional>
#include <string>

#include "levin/trainer/callback.h"

namespace levin {

/// How far the training is, on rank 0: a bar that is drawn anew on a terminal, else a plain line every few seconds, so that a job's log
/// stays short.
class ProgressBar : public Callback {
 public:
  using Write = std::function<void(const std::string&)>;
  /// `write` gets text as it is to appear. A plain line comes at most every `interval`, a bar ten times a second.
  ProgressBar(bool terminal, Write write, std::chrono::milliseconds interval = std::chrono::seconds(5));

  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;
  void on_train_epoch_end() override;
  void on_validation_batch_end(const Batch& batch, int64_t batch_idx) override { show_if_due("validating"), (void)batch, (void)batch_idx; }
  void on_test_batch_end(const Batch& batch, int64_t batch_idx) override { show_if_due("testing"), (void)batch, (void)batch_idx; }
  void on_predict_batch_end(const Tensor&, const Batch&, int64_t) override { show_if_due("predicting"); }

 private:
  void show_if_due(const char* what);
  void show(const char* what);

  bool terminal_;
  Write write_;
  std::chrono::steady_clock::duration interval_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace levin
