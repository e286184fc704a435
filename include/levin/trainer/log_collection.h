#pragma once
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "levin/core/batch.h"
#include "levin/trainer/logger.h"

namespace levin {

class Communicator;
class Metric;

/// How the values of an epoch become one (Lightning's reduce_fx). The mean is over samples: each value counts with its batch's weight.
enum class ReduceFx { mean, sum, min, max };

/// Lightning's arguments of log(). In training on_step is the default, in evaluation on_epoch; with both, the values are called NAME_step
/// and NAME_epoch.
struct LogOptions {
  std::optional<bool> on_step = {}, on_epoch = {};
  bool prog_bar = false;
  ReduceFx reduce_fx = ReduceFx::mean;
  bool logger = true;
  /// With several evaluation loaders: a value of each, called NAME/dataloader_idx_0 and so on; else one of all.
  bool add_dataloader_idx = true;
};

/// What a module logged, gathered on its rank without waiting for anybody; values of all ranks are made when they are due.
class LogCollection {
 public:
  /// `training` decides about the defaults of on_step and on_epoch.
  explicit LogCollection(bool training);
  ~LogCollection();
  /// Forgets everything.
  void clear();
  /// Drops the values of an interrupted epoch, those of its metrics too.
  void discard();
  bool empty() const noexcept { return entries_.empty(); }

  /// The batches to come are from this one of several loaders.
  void begin_dataloader(int64_t dataloader_idx);
  /// Adds the values of the loader's own, over all ranks. Collective.
  void end_dataloader(Communicator& communicator, NamedValues& values);
  /// The batch that the coming values belong to. Those of a padding batch count nowhere.
  void begin_batch(const Batch& batch);
  /// The weight of the next values of this batch, if it is not the number of samples. Values of a padding batch never count.
  void set_weight(double weight) noexcept {
    if (weight_ > 0) weight_ = weight;
  }
  /// One number; that of a device is read when it is due, not here.
  void log(std::string_view name, const Tensor& value, const LogOptions& options);
  void log(std::string_view name, double value, const LogOptions& options);
  void log(std::string_view name, Metric& metric, const LogOptions& options);

  /// The last batch's on_step values, over all ranks. Collective.
  NamedValues step_values(Communicator& communicator);
  /// The same in two parts. The first is local and waits for no device: it starts copies of the values. They may be finished after later
  /// batches, in the order of their starts.
  class StepValues;
  std::shared_ptr<const StepValues> start_step_values() const;
  static NamedValues finish_step_values(const StepValues& values, Communicator& communicator);
  /// The epoch's values, over all ranks; the next epoch begins. Collective, one all-reduce for all of them.
  NamedValues epoch_values(Communicator& communicator);
  /// This rank's last values, for a progress bar.
  NamedValues progress_bar() const;

  /// An entry in the middle of an epoch, as this rank has it.
  struct Running {
    std::string name;
    LogOptions options;
    Metric* metric = nullptr;  ///< that it logs at the epoch's end, whose state is its own
    double sum = 0, weight = 0, last = 0, last_weight = 0;
  };
  /// All entries, in order; not those of evaluation loaders.
  std::vector<Running> running() const;
  /// Replaces the running values and continues with `entries`.
  void restore(const std::vector<Running>& entries);

 private:
  struct Entry;
  Entry& entry(std::string_view name, const LogOptions& options);
  NamedValues values_of(const std::string& dataloader, Communicator& communicator);

  bool training_;
  std::string dataloader_;  // what names of this loader's values end with
  double weight_ = 1;
  size_t expected_ = 0;  // index of the entry that comes next when steps log the same names in the same order
  std::deque<Entry> entries_;
};

}  // namespace levin
