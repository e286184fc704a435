#pragma once
#include <c10/core/Device.h>

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "levin/core/tensor.h"

namespace levin {

/// How the ranks' states become one.
enum class StateReduction { sum, min, max, concatenate };

/// One named part of what a metric has gathered on this rank.
struct MetricState {
  std::string name;
  StateReduction reduction;
  Tensor initial;
  Tensor value;               ///< what update writes to, in place or by assignment; not for concatenate
  std::vector<Tensor> parts;  ///< for concatenate: tensors [rows, ...] in the order of the updates

  /// Adds rows [n, ...] to a concatenate state. They are kept, not copied.
  void append(const Tensor& rows) { parts.push_back(rows.detach()); }
  /// The value; for concatenate all rows as one tensor; without rows an empty float64 tensor.
  Tensor joined() const;
};

/// A number (or tensor) over many batches and all ranks. Its states gather on their rank and device until `reset`; MetricSync shows
/// those of all ranks at once. A derived class has an `update` with arguments of its choice, which changes states and nothing else
/// and waits for no device, and `compute`.
class Metric {
 public:
  Metric() = default;
  virtual ~Metric() = default;
  Metric(const Metric&) = delete;
  Metric& operator=(const Metric&) = delete;

  /// The metric of the states as they are now; changes none of them.
  virtual Tensor compute() const = 0;
  /// Back to before the first update.
  void reset();
  /// Moves the states. Call it before the first update.
  void to(at::Device device);
  at::Device device() const noexcept { return device_; }

  /// Updates between set_enabled(false) and set_enabled(true) leave no trace, whatever they do: so a padding batch counts nowhere.
  void set_enabled(bool enabled);
  bool enabled() const noexcept { return !stash_; }

  const std::deque<MetricState>& states() const noexcept { return states_; }
  /// Puts back what states().joined() gave under this name. DataError for an unknown name or another shape.
  void load_state(std::string_view name, const Tensor& value);

 protected:
  /// A state that starts at `initial`: float64, or for a sum int64, too (exact up to 2^53 over all ranks). The reference stays good.
  MetricState& add_state(std::string name, StateReduction reduction, Tensor initial);
  /// A state of rows, concatenated in rank order.
  MetricState& add_rows(std::string name);

 private:
  friend class MetricSync;
  using Values = std::vector<std::pair<Tensor, std::vector<Tensor>>>;
  Values values() const;
  void set_values(Values values);

  std::deque<MetricState> states_;
  std::optional<Values> stash_;
  at::Device device_ = at::kCPU;
};

}  // namespace levin
