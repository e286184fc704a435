#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "run_data.h"

namespace levin::report {

struct Curve {
  size_t run = 0;  ///< index among the runs
  std::string name;
  std::vector<Point> points;  ///< finite values, at most as many as a chart shows
  size_t values = 0;          ///< before they were thinned out, the next ones included
  std::vector<Point> not_finite;
};

enum class Section { metrics, resources, time };

/// Curves over the steps with one unit. Of a chart with `stacked` the curves are parts of one run's time, in percent.
struct Chart {
  Section section = Section::metrics;
  std::string title, unit;
  bool stacked = false;
  bool from_zero = false;
  std::vector<Curve> curves;

  double low() const;
  double high() const;
  /// All values are positive, and they span three decades or more.
  bool logarithmic() const;
};

/// The charts of these runs: metrics that differ by stage alone (train_loss, val_loss) share one, as do all runs. First of them the
/// losses, last the time of each run.
std::vector<Chart> make_charts(const std::vector<RunData>& runs);

/// The largest last step of all, and at least 1.
int64_t last_step(const std::vector<Chart>& charts);

/// Seconds of a run by part, of the attempts that its training consists of.
std::vector<double> time_by_part(const RunData& run);

}  // namespace levin::report
