#include "charts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string_view>

namespace levin::report {
namespace {

constexpr double largest = 1e300;  // beyond it a chart's arithmetic would overflow

bool drawable(double value) { return std::abs(value) <= largest; }

bool drop_prefix(std::string_view& name, std::string_view prefix) {
  if (!name.starts_with(prefix) || name.size() == prefix.size()) return false;
  name.remove_prefix(prefix.size());
  return true;
}

bool drop_suffix(std::string_view& name, std::string_view suffix) {
  if (!name.ends_with(suffix) || name.size() == suffix.size()) return false;
  name.remove_suffix(suffix.size());
  return true;
}

// What metrics share that differ by stage, moment or data loader alone.
std::string title_of(std::string_view name) {
  if (drop_prefix(name, "DeviceStatsMonitor.on_train_batch_end/")) {
    drop_suffix(name, "_max");
    return std::string(name);
  }
  if (const auto loader = name.find("/dataloader_idx_"); loader != std::string_view::npos && loader > 0) name = name.substr(0, loader);
  if (!drop_suffix(name, "_step")) drop_suffix(name, "_epoch");
  for (const std::string_view stage : {"train", "val", "valid", "validation", "test"})
    for (const char between : {'_', '/'})
      if (drop_prefix(name, std::string(stage) + between)) return std::string(name);
  return std::string(name);
}

std::string unit_of(std::string_view title) {
  for (const auto& [suffix, unit] : {std::pair{"_percent", "%"},
                                     {"_bytes", "B"},
                                     {"_celsius", "°C"},
                                     {"_watts", "W"},
                                     {"samples_per_sec", "samples/s"},
                                     {"batches_per_sec", "batches/s"},
                                     {"items_per_sec", "items/s"},
                                     {"flops_per_sec", "FLOP/s"}})
    if (title.ends_with(suffix)) return unit;
  return {};
}

bool is_resource(std::string_view name) {
  return !unit_of(name).empty() || name.starts_with("lr-") || name.starts_with("DeviceStatsMonitor.") ||
         name.starts_with("train/device/") || name == "train/time" || name == "train/batches" || name == "train/samples";
}

bool is_learning_rate(std::string_view name) {
  return name.starts_with("lr-") && !name.ends_with("-momentum") && !name.ends_with("-weight_decay");
}

// Keeps the least and the largest value of equal ranges of points, so that no peak is lost.
std::vector<Point> thinned(const std::vector<Point>& points, size_t most) {
  if (points.size() <= most) return points;
  std::vector<Point> kept{points.front()};
  const size_t ranges = std::max<size_t>(1, (most - 2) / 2), inner = points.size() - 2;
  for (size_t range = 0; range < ranges; range++) {
    const auto begin = points.begin() + 1 + static_cast<std::ptrdiff_t>(range * inner / ranges),
               end = points.begin() + 1 + static_cast<std::ptrdiff_t>((range + 1) * inner / ranges);
    if (begin == end) continue;
    auto [least, most_of] = std::minmax_element(begin, end, [](const Point& a, const Point& b) { return a.value < b.value; });
    if (most_of < least) std::swap(least, most_of);
    kept.push_back(*least);
    if (most_of != least) kept.push_back(*most_of);
  }
  kept.push_back(points.back());
  return kept;
}

Curve curve_of(size_t run, const Series& series, size_t most) {
  Curve curve{.run = run, .name = series.name, .points = {}, .values = series.points.size(), .not_finite = {}};
  for (const auto& point : series.points) (drawable(point.value) ? curve.points : curve.not_finite).push_back(point);
  curve.points = thinned(curve.points, most);
  if (curve.not_finite.size() > most) curve.not_finite.resize(most);
  return curve;
}

class ChartList {
 public:
  explicit ChartList(size_t most_points) : most_points_(most_points) {}
  Chart& at(Section section, const std::string& title, const std::string& unit = {}) {
    const auto key = std::pair(section, title);
    const auto [found, is_new] = places_.emplace(key, charts.size());
    if (is_new) charts.push_back({.section = section, .title = title, .unit = unit, .curves = {}});
    return charts[found->second];
  }
  void add(Section section, const std::string& title, size_t run, const Series& series, const std::string& unit = {}) {
    if (!series.points.empty()) at(section, title, unit).curves.push_back(curve_of(run, series, most_points_));
  }
  std::vector<Chart> charts;

 private:
  size_t most_points_;
  std::map<std::pair<Section, std::string>, size_t> places_;
};

bool is_loss(const Chart& chart) { return chart.title == "loss" || chart.title.ends_with("_loss") || chart.title.starts_with("loss_"); }

// A page of many curves stays one that a browser opens.
size_t most_points_of(const std::vector<RunData>& runs) {
  constexpr size_t of_all = 400'000, least = 100, most = 2000;
  size_t curves = 1;
  for (const auto& run : runs) curves += run.metrics.size() + run.learning_rates.size() + time_part_count + 2;
  return std::clamp(of_all / curves, least, most);
}

void add_timings(ChartList& list, size_t index, const RunData& run, bool alone, size_t most_points) {
  Series rate{"training", {}}, memory{"rank 0", {}};
  std::vector<Series> shares;
  for (const char* part : time_parts) shares.push_back({part, {}});
  for (const auto& timing : run.timings) {
    const double training = timing.total - timing.parts[validation_part];
    if (training > 0 && timing.samples > 0) rate.points.push_back({timing.step, timing.samples / training});
    if (timing.process_bytes) memory.points.push_back({timing.step, *timing.process_bytes});
    if (!(timing.total > 0)) continue;
    for (size_t i = 0; i < shares.size(); i++) shares[i].points.push_back({timing.step, 100 * timing.parts[i] / timing.total});
  }
  list.add(Section::resources, "throughput", index, rate, "samples/s");
  list.add(Section::resources, "memory of the process", index, memory, "B");
  if (shares.front().points.empty()) return;
  auto& chart = list.at(Section::time, alone ? "time by part" : "time by part: " + run.label, "%");
  chart.stacked = true;
  // All of a moment, or no part of it.
  const size_t every = (shares.front().points.size() + most_points - 1) / most_points;
  for (const auto& share : shares) {
    Curve curve{.run = index, .name = share.name, .points = {}, .values = share.points.size(), .not_finite = {}};
    for (size_t i = 0; i < share.points.size(); i += every) curve.points.push_back(share.points[i]);
    chart.curves.push_back(std::move(curve));
  }
}

}  // namespace

double Chart::low() const {
  if (stacked) return 0;
  double low = std::numeric_limits<double>::infinity();
  for (const auto& curve : curves)
    for (const auto& point : curve.points) low = std::min(low, point.value);
  if (from_zero && low > 0 && !logarithmic()) return 0;
  return std::isinf(low) ? 0 : low;
}

double Chart::high() const {
  if (stacked) return 100;
  double high = -std::numeric_limits<double>::infinity();
  for (const auto& curve : curves)
    for (const auto& point : curve.points) high = std::max(high, point.value);
  return std::isinf(high) ? 1 : high;
}

bool Chart::logarithmic() const {
  if (stacked || from_zero) return false;
  double low = std::numeric_limits<double>::infinity(), high = 0;
  for (const auto& curve : curves)
    for (const auto& point : curve.points) low = std::min(low, point.value), high = std::max(high, point.value);
  return low > 0 && high >= 1000 * low;
}

std::vector<Chart> make_charts(const std::vector<RunData>& runs) {
  const size_t most_points = most_points_of(runs);
  ChartList list(most_points);
  for (size_t i = 0; i < runs.size(); i++) {
    for (const auto& series : runs[i].metrics) {
      const auto title = title_of(series.name);
      if (!is_resource(series.name)) list.add(Section::metrics, title, i, series, unit_of(title));
    }
  }
  for (size_t i = 0; i < runs.size(); i++) {
    const auto recorded = [&](const std::string& name) {
      const auto& rates = runs[i].learning_rates;
      return std::any_of(rates.begin(), rates.end(), [&](const auto& rate) { return rate.name == name; });
    };
    for (const auto& series : runs[i].learning_rates) list.add(Section::resources, "learning rate", i, series);
    for (const auto& series : runs[i].metrics)
      if (is_learning_rate(series.name) && !recorded(series.name)) list.add(Section::resources, "learning rate", i, series);
  }
  for (size_t i = 0; i < runs.size(); i++) add_timings(list, i, runs[i], runs.size() == 1, most_points);
  for (size_t i = 0; i < runs.size(); i++)
    for (const auto& series : runs[i].metrics) {
      const auto title = title_of(series.name);
      if (is_resource(series.name) && !is_learning_rate(series.name)) list.add(Section::resources, title, i, series, unit_of(title));
    }
  for (auto& chart : list.charts) chart.from_zero = chart.section == Section::resources && !chart.unit.empty();
  const auto order = [](const Chart& chart) { return std::pair(chart.section, chart.title == "loss" ? 0 : is_loss(chart) ? 1 : 2); };
  std::stable_sort(list.charts.begin(), list.charts.end(), [&](const auto& a, const auto& b) { return order(a) < order(b); });
  return std::move(list.charts);
}

int64_t last_step(const std::vector<Chart>& charts) {
  int64_t last = 1;
  for (const auto& chart : charts)
    for (const auto& curve : chart.curves)
      for (const auto* points : {&curve.points, &curve.not_finite})
        if (!points->empty()) last = std::max(last, points->back().step);
  return last;
}

std::vector<double> time_by_part(const RunData& run) {
  std::vector<double> seconds(time_part_count);
  for (const auto& timing : run.timings)
    for (size_t i = 0; i < time_part_count; i++) seconds[i] += timing.parts[i];
  return seconds;
}

}  // namespace levin::report
