#pragma once
#include <string>
#include <vector>

namespace levin::report {

struct Tick {
  double value = 0;
  std::string label;
};

/// One axis of a chart: its range, ticks inside of it, and where values lie on it.
class Axis {
 public:
  /// `unit`: empty, "B" (bytes), "s" (seconds) or any other word. A logarithmic axis needs 0 < low < high.
  Axis(double low, double high, bool logarithmic, const std::string& unit, int most_ticks);

  /// 0 at the low end, 1 at the high end; beyond these for values beyond them.
  double place(double value) const;
  double low() const noexcept { return low_; }
  double high() const noexcept { return high_; }
  bool logarithmic() const noexcept { return logarithmic_; }
  const std::vector<Tick>& ticks() const noexcept { return ticks_; }
  /// What the labels count: GB where `unit` is B and the values are large.
  const std::string& unit() const noexcept { return unit_; }

 private:
  double low_, high_;
  bool logarithmic_;
  std::string unit_;
  std::vector<Tick> ticks_;
};

}  // namespace levin::report
