#pragma once
#include <memory>
#include <optional>
#include <utility>

#include "levin/data/loader.h"

namespace levin {

/// A loader of this rank's own part, where a program has cut the data itself (use_distributed_sampler: false). Parts are equally large.
class OwnPartLoader : public Loader {
 public:
  OwnPartLoader(std::unique_ptr<Loader> part, int ranks) : part_(std::move(part)), ranks_(ranks) {}
  void set_epoch(int64_t epoch) override { part_->set_epoch(epoch); }
  Batch* next() override { return part_->next(); }
  bool reads_ahead() const override { return part_->reads_ahead(); }
  bool wait(int64_t batches, std::chrono::milliseconds most) override { return part_->wait(batches, most); }
  bool stop_reading(std::chrono::milliseconds most) override { return part_->stop_reading(most); }
  std::optional<int64_t> length() const override { return part_->length(); }
  bool at_end() const override { return part_->at_end(); }
  int64_t global_samples() const override { return part_->global_samples() * ranks_; }
  int64_t step_samples() const override { return 0; }  // the parts have no common order
  LoaderState state() const override { return part_->state(); }
  int64_t restore(const LoaderState& state) override { return part_->restore(state); }

 private:
  std::unique_ptr<Loader> part_;
  int ranks_;
};

}  // namespace levin
