#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "levin/data/data_loader.h"

namespace levin {

/// How loaders become one, as in Lightning's CombinedLoader. min_size: a batch of each at a time, until the shortest ends. max_size_cycle:
/// until the longest ends; the others begin again, in a new order. sequential: all batches of the first, then all of the second, …
enum class CombinedMode { min_size, max_size_cycle, sequential };
LEVIN_ENUM(CombinedMode, (min_size, "min_size"), (max_size_cycle, "max_size_cycle"), (sequential, "sequential"))

/// One of several data sets, and how to make batches of it.
struct CombinedPart {
  std::string name;
  std::shared_ptr<const Dataset> dataset;
  DataLoaderOptions options = {};
};

/// Batches of several data sets for one training. In the modes min_size and max_size_cycle a batch has the tensors of all parts, named
/// PART/TENSOR ("labelled/image"); each part has its own batch size and its own order. Indices, weight and padding are those of the leading
/// part: the shortest or the longest, the first of equals. Other parts drop their short last batches, so that every rank has samples of
/// each part; limits, positions and resumption count the leading part's samples. In the mode sequential a batch is one of a part, and its
/// dataloader_idx is the part's number.
class CombinedLoader : public Loader {
 public:
  /// UsageError for no parts and two of the same name; ConfigError for options that make no batch.
  CombinedLoader(const std::vector<CombinedPart>& parts, CombinedMode mode, const LoaderPartition& partition = {});

  void set_epoch(int64_t epoch) override { go_to(epoch, 0); }
  /// A call after one that threw tries the same batch again.
  Batch* next() override;
  bool reads_ahead() const override;
  bool wait(int64_t batches, std::chrono::milliseconds most) override;
  bool stop_reading(std::chrono::milliseconds most) override;
  std::optional<int64_t> length() const override { return batches_; }
  bool at_end() const override { return number_ == batches_; }
  int64_t global_samples() const override { return global_samples_; }
  /// Of a sequential loader of parts that differ in it: 0.
  int64_t step_samples() const override;
  LoaderState state() const override;
  int64_t restore(const LoaderState& state) override;

 private:
  struct Place {
    size_t part = 0;
    int64_t number = 0;  // of a batch in the part
  };
  void go_to(int64_t epoch, int64_t number);
  Batch* next_of_all();
  Batch* next_in_sequence();
  Place place_of(int64_t number) const;

  CombinedMode mode_;
  std::vector<std::string> names_;
  std::vector<std::unique_ptr<DataLoader>> loaders_;
  size_t leading_ = 0;
  int64_t batches_ = 0;
  int64_t epoch_ = 0, number_ = 0, global_samples_ = 0;
  std::vector<int64_t> cycles_;  // of each part: its own epoch
  Batch batch_;
};

}  // namespace levin
