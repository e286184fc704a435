#pragma once
// What the benches of steps share: a clock, and the lines that tools/bench/run reads.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "levin/trainer/callback.h"

inline double now_us() { return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

inline double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// The time of the steps from `from` on.
struct StepClock : levin::Callback {
  explicit StepClock(int64_t from) : from(from) {}
  void on_train_batch_end(const levin::Tensor&, const levin::Batch&, int64_t) override {
    if (++steps == from) began = now_us();
    ended = now_us();
  }
  double us_per_step() const { return (ended - began) / static_cast<double>(steps - from); }
  int64_t from, steps = 0;
  double began = 0, ended = 0;
};

inline void print_value(const std::string& name, double us_per_step) {
  fmt::print("{{\"case\": \"{}\", \"value\": {:.3f}, \"unit\": \"us/step\"}}\n", name, us_per_step);
}

/// Of turns: the medians, and the quartiles of the ratios of ours to theirs.
inline void print_pairs(const std::string& name, const std::vector<double>& ours, const std::vector<double>& theirs) {
  std::vector<double> ratios;
  for (size_t i = 0; i < ours.size(); ++i) ratios.push_back(ours[i] / theirs[i]);
  std::sort(ratios.begin(), ratios.end());
  const size_t n = ratios.size();
  fmt::print("{{\"case\": \"{}\", \"ours\": {:.3f}, \"peer\": {:.3f}, \"unit\": \"us/step\", \"ratio\": [{:.4f}, {:.4f}, {:.4f}]}}\n", name,
             median(ours), median(theirs), ratios[n / 4], ratios[n / 2], ratios[n * 3 / 4]);
}
