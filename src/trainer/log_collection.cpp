#include "levin/trainer/log_collection.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/fmax.h>
#include <ATen/ops/fmin.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "levin/core/error.h"
#include "levin/device/host_copy.h"
#include "levin/metrics/metric_sync.h"

namespace levin {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// Gathered numbers, as a metric, so that they travel with the others. Those of a device are gathered there: adding one does not
// synchronize, reading does.
class LoggedValue : public Metric {
 public:
  explicit LoggedValue(ReduceFx fx)
      : fx_(fx),
        value_(add_state("value",
                         fx == ReduceFx::min   ? StateReduction::min
                         : fx == ReduceFx::max ? StateReduction::max
                                               : StateReduction::sum,
                         at::full({}, start(), at::kDouble))),
        weight_(add_state("weight", StateReduction::sum, at::full({}, 0.0, at::kDouble))) {}

  void add(double value, double weight) {
    if (weight == 0) return;
    sum_ = combined(sum_, fx_ == ReduceFx::mean ? value * weight : value);
    total_ += weight;
  }
  void add(const Tensor& value, double weight) {
    if (weight == 0) return;
    if (!on_device_.defined() || on_device_.device() != value.device()) {
      sum_ = sum(), on_device_ = at::full({}, start(), value.options());
    }
    switch (fx_) {
      case ReduceFx::mean: on_device_.add_(value, weight); break;
      case ReduceFx::sum: on_device_.add_(value); break;
      case ReduceFx::min: on_device_ = at::fmin(on_device_, value); break;
      case ReduceFx::max: on_device_ = at::fmax(on_device_, value); break;
    }
    total_ += weight;
  }
  void publish() {
    value_.value.fill_(sum());
    weight_.value.fill_(total_);
  }
  void clear() { resume(start(), 0); }
  double sum() const { return on_device_.defined() ? combined(sum_, on_device_.item<double>()) : sum_; }
  double weight() const noexcept { return total_; }
  void resume(double sum, double weight) { sum_ = sum, total_ = weight, on_device_.reset(); }

  Tensor compute() const override { return fx_ == ReduceFx::mean ? value_.value / weight_.value : value_.value; }

 private:
  double start() const { return fx_ == ReduceFx::min ? infinity : fx_ == ReduceFx::max ? -infinity : 0; }
  double combined(double a, double b) const {
    switch (fx_) {
      case ReduceFx::min: return std::min(a, b);
      case ReduceFx::max: return std::max(a, b);
      default: return a + b;
    }
  }
  ReduceFx fx_;
  MetricState& value_;
  MetricState& weight_;
  double sum_ = start(), total_ = 0;
  Tensor on_device_;  // float64, without dimensions
};

}  // namespace

struct LogCollection::Entry {
  Entry(std::string_view logged_as, const std::string& of_dataloader, const LogOptions& entry_options, bool training)
      : logged(logged_as),
        dataloader(of_dataloader),
        name(logged + dataloader),
        options(entry_options),
        on_step(options.on_step.value_or(training)),
        on_epoch(options.on_epoch.value_or(!training)),
        step(ReduceFx::mean),
        epoch(options.reduce_fx) {}

  std::string logged, dataloader, name;
  LogOptions options;
  bool on_step, on_epoch;
  Metric* metric = nullptr;
  LoggedValue step, epoch;

  double last_weight = 0;

  std::string step_name() const { return on_epoch ? logged + "_step" + dataloader : name; }
  /// Undefined unless the last value is on a device.
  const Tensor& last_on_device() const noexcept { return last_on_device_; }
  void set_last(double value) { last_ = value, last_on_device_.reset(); }
  void set_last(const Tensor& value) { last_on_device_ = value; }
  // Waits for the device that the last value is on.
  double last_value() const { return last_on_device_.defined() ? last_on_device_.item<double>() : last_; }
  template <class Value>
  void log(const Value& value, double weight) {
    set_last(value), last_weight = weight;
    if (on_epoch) epoch.add(value, weight);
  }

 private:
  double last_ = 0;
  Tensor last_on_device_;
};

LogCollection::LogCollection(bool training) : training_(training) {}
LogCollection::~LogCollection() = default;

void LogCollection::clear() { entries_.clear(); }

void LogCollection::discard() {
  for (auto& entry : entries_) {
    entry.epoch.clear();
    if (entry.metric) entry.metric->reset();
  }
}

void LogCollection::begin_batch(const Batch& batch) {
  weight_ = batch.weight();
  expected_ = 0;
}

void LogCollection::begin_dataloader(int64_t dataloader_idx) { dataloader_ = fmt::format("/dataloader_idx_{}", dataloader_idx); }

void LogCollection::end_dataloader(Communicator& communicator, NamedValues& values) {
  for (auto& value : values_of(std::exchange(dataloader_, {}), communicator)) values.push_back(std::move(value));
}

LogCollection::Entry& LogCollection::entry(std::string_view name, const LogOptions& options) {
  static const std::string all;
  const std::string& dataloader = options.add_dataloader_idx ? dataloader_ : all;
  const auto is_it = [&](const Entry& entry) { return entry.logged == name && entry.dataloader == dataloader; };
  if (expected_ < entries_.size() && is_it(entries_[expected_])) return entries_[expected_++];
  for (size_t i = 0; i < entries_.size(); i++)
    if (is_it(entries_[i])) return expected_ = i + 1, entries_[i];
  return entries_.emplace_back(name, dataloader, options, training_);
}

void LogCollection::log(std::string_view name, const Tensor& value, const LogOptions& options) {
  if (value.numel() != 1)
    throw UsageError("trainer", fmt::format("log(\"{}\") got a tensor of shape [{}]", name, fmt::join(value.sizes(), ", ")),
                     "log one number, a mean for example");
  if (value.is_cpu()) return log(name, value.item<double>(), options);
  const Tensor copy = value.detach().reshape({}).to(at::kDouble, /*non_blocking=*/false, /*copy=*/true);
  entry(name, options).log(copy, weight_);
}

void LogCollection::log(std::string_view name, double value, const LogOptions& options) { entry(name, options).log(value, weight_); }

void LogCollection::log(std::string_view name, Metric& metric, const LogOptions& options) {
  if (options.on_step.value_or(false))
    throw UsageError("trainer", fmt::format("log(\"{}\", metric) with on_step", name),
                     "a metric is logged at the end of the epoch; log its value for a step");
  LogOptions at_the_end = options;
  at_the_end.on_step = false, at_the_end.on_epoch = true;
  entry(name, at_the_end).metric = &metric;
}

NamedValues LogCollection::step_values(Communicator& communicator) {
  std::vector<Metric*> due;
  std::vector<std::string> names;
  for (auto& entry : entries_) {
    if (!entry.on_step || !entry.options.logger) continue;
    entry.step.clear();
    entry.step.add(entry.last_value(), entry.last_weight);
    entry.step.publish();
    due.push_back(&entry.step);
    names.push_back(entry.step_name());
  }
  NamedValues values;
  if (due.empty()) return values;
  const auto computed = compute_synchronised(due, communicator);
  for (size_t i = 0; i < due.size(); i++) values.emplace_back(names[i], computed[i].item<double>());
  return values;
}

class LogCollection::StepValues {
 public:
  struct Value {
    std::string name;
    double weight;
    double on_host;  // unless it is copied
    bool copied;
  };
  std::vector<Value> values;
  std::optional<HostCopy> copy;  // of the copied values, in their order
};

std::shared_ptr<const LogCollection::StepValues> LogCollection::start_step_values() const {
  auto started = std::make_shared<StepValues>();
  std::vector<Tensor> on_device;
  for (const auto& entry : entries_) {
    if (!entry.on_step || !entry.options.logger) continue;
    const auto& tensor = entry.last_on_device();
    started->values.push_back({entry.step_name(), entry.last_weight, tensor.defined() ? 0 : entry.last_value(), tensor.defined()});
    if (tensor.defined()) on_device.push_back(tensor);
  }
  if (!on_device.empty()) started->copy.emplace(at::stack(on_device));
  return started;
}

NamedValues LogCollection::finish_step_values(const StepValues& started, Communicator& communicator) {
  const double* copied = started.copy ? started.copy->get().const_data_ptr<double>() : nullptr;
  std::deque<LoggedValue> metrics;
  std::vector<Metric*> due;
  for (const auto& value : started.values) {
    auto& metric = metrics.emplace_back(ReduceFx::mean);
    metric.add(value.copied ? *copied++ : value.on_host, value.weight);
    metric.publish();
    due.push_back(&metric);
  }
  NamedValues values;
  if (due.empty()) return values;
  const auto computed = compute_synchronised(due, communicator);
  for (size_t i = 0; i < due.size(); i++) values.emplace_back(started.values[i].name, computed[i].item<double>());
  return values;
}

NamedValues LogCollection::epoch_values(Communicator& communicator) { return values_of({}, communicator); }

NamedValues LogCollection::values_of(const std::string& dataloader, Communicator& communicator) {
  std::vector<Metric*> due;
  std::vector<Entry*> logged;
  for (auto& entry : entries_) {
    if (!entry.on_epoch || entry.dataloader != dataloader) continue;
    entry.epoch.publish();
    due.push_back(entry.metric ? entry.metric : &entry.epoch);
    logged.push_back(&entry);
  }
  NamedValues values;
  if (due.empty()) return values;
  const auto computed = compute_synchronised(due, communicator);
  for (size_t i = 0; i < due.size(); i++) {
    auto& entry = *logged[i];
    if (computed[i].numel() != 1)
      throw UsageError("trainer",
                       fmt::format("log(\"{}\", metric): its value has shape [{}]", entry.name, fmt::join(computed[i].sizes(), ", ")),
                       "log a metric with one value; read others by compute_synchronised in an epoch hook");
    const double value = computed[i].item<double>();
    entry.set_last(value);
    entry.epoch.clear();
    if (entry.metric) entry.metric->reset();
    if (entry.options.logger) values.emplace_back(entry.on_step ? entry.logged + "_epoch" + entry.dataloader : entry.name, value);
  }
  return values;
}

NamedValues LogCollection::progress_bar() const {
  NamedValues values;
  for (const auto& entry : entries_)
    if (entry.options.prog_bar) values.emplace_back(entry.name, entry.last_value());
  return values;
}

std::vector<LogCollection::Running> LogCollection::running() const {
  std::vector<Running> all;
  for (const auto& entry : entries_) {
    Running now{entry.logged, entry.options, entry.metric, entry.epoch.sum(), entry.epoch.weight(), entry.last_value(), entry.last_weight};
    now.options.on_step = entry.on_step, now.options.on_epoch = entry.on_epoch;
    all.push_back(std::move(now));
  }
  return all;
}

void LogCollection::restore(const std::vector<Running>& entries) {
  clear();
  expected_ = 0;
  for (const auto& was : entries) {
    auto& entry = entries_.emplace_back(was.name, std::string(), was.options, training_);
    entry.metric = was.metric;
    entry.epoch.resume(was.sum, was.weight);
    entry.set_last(was.last), entry.last_weight = was.last_weight;
  }
}

}  // namespace levin
