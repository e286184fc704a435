#include "svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "axis.h"
#include "number_forms.h"

namespace levin::report {
namespace {

using Out = std::back_insert_iterator<std::string>;
constexpr size_t most_dots = 24;  // more would hide the curve

class Drawing {
 public:
  Drawing(const Chart& chart, const std::vector<RunData>& runs, int64_t last)
      : chart_(chart),
        runs_(runs),
        logarithmic_(chart.logarithmic()),
        x_axis_(0, static_cast<double>(last), false, "", 7),
        y_axis_(range_low(chart), range_high(chart), logarithmic_, chart.unit, 6) {}

  std::string draw() {
    fmt::format_to(out_, R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{}">)", svg_width, svg_height,
                   html_text(chart_.title + " by step"));
    if (chart_.stacked) draw_areas();
    draw_axes();
    draw_restarts();
    if (!chart_.stacked) draw_curves();
    svg_ += R"(<line class="cursor" y1="12" y2="256" x1="-9" x2="-9"/></svg>)";
    return std::move(svg_);
  }

 private:
  static double margin(const Chart& chart) { return chart.logarithmic() || chart.stacked ? 0 : 0.04 * (chart.high() - chart.low()); }
  static double range_low(const Chart& chart) { return chart.low() - (chart.low() == 0 && chart.from_zero ? 0 : margin(chart)); }
  static double range_high(const Chart& chart) { return chart.high() + margin(chart); }
  double x(double step) const { return plot_left + x_axis_.place(step) * (plot_right - plot_left); }
  double y(double value) const { return plot_bottom - y_axis_.place(value) * (plot_bottom - plot_top); }

  void draw_axes() {
    for (const auto& tick : y_axis_.ticks())
      fmt::format_to(out_, R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text class="y" x="{}" y="{:.1f}">{}</text>)",
                     plot_left, plot_right, y(tick.value), y(tick.value), plot_left - 7, y(tick.value) + 4, tick.label);
    for (const auto& tick : x_axis_.ticks())
      fmt::format_to(out_,
                     R"(<line class="tick" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/><text class="x" x="{0:.1f}" y="{3}">{4}</text>)",
                     x(tick.value), plot_bottom, plot_bottom + 4, plot_bottom + 17, tick.label);
    fmt::format_to(out_, R"(<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="unit x" x="{}" y="{}">step</text>)", plot_left,
                   plot_right, plot_bottom, plot_bottom, (plot_left + plot_right) / 2, svg_height - 3);
    if (!y_axis_.unit().empty())
      fmt::format_to(out_, R"x(<text class="turned unit" transform="translate(11 {}) rotate(-90)">{}</text>)x",
                     (plot_top + plot_bottom) / 2, html_text(y_axis_.unit()));
  }

  bool shows(size_t run) const {
    return std::any_of(chart_.curves.begin(), chart_.curves.end(), [&](const auto& curve) { return curve.run == run; });
  }

  // Between the last step before and the first one after.
  void draw_restarts() {
    for (size_t run = 0; run < runs_.size(); run++) {
      if (!shows(run)) continue;
      for (const int64_t step : runs_[run].restarts()) {
        const double at = x(static_cast<double>(step) - 0.5);
        fmt::format_to(out_, R"(<g class="restart{}"><line x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/><path d="M{:.1f} {}l-4 -7h8z"/>)",
                       runs_.size() > 1 ? " " + classes_of({.color = run % 8}) : "", at, at, plot_top, plot_bottom, at, plot_top);
        fmt::format_to(out_, "<title>{}</title></g>",
                       html_text(fmt::format("{}restart at step {}", runs_.size() > 1 ? runs_[run].label + ": " : "", step)));
      }
    }
  }

  void draw_curves() {
    const auto styles = styles_of(chart_, runs_.size());
    for (size_t i = 0; i < chart_.curves.size(); i++) {
      const auto& curve = chart_.curves[i];
      const auto classes = classes_of(styles[i]);
      if (curve.points.size() > 1) {
        fmt::format_to(out_, R"(<polyline class="curve {}" points=")", classes);
        for (const auto& point : curve.points) fmt::format_to(out_, "{:.1f},{:.1f} ", x(static_cast<double>(point.step)), y(point.value));
        svg_ += "\"/>";
      }
      if (curve.points.size() <= most_dots)
        for (const auto& point : curve.points)
          fmt::format_to(out_, R"(<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="2.6"/>)", classes, x(static_cast<double>(point.step)),
                         y(point.value));
      for (const auto& point : curve.not_finite)
        fmt::format_to(out_, R"(<path class="bad {}" d="M{:.1f} {}l6 6m0 -6l-6 6"><title>{} is {} at step {}</title></path>)", classes,
                       x(static_cast<double>(point.step)) - 3, plot_top + 2, html_text(curve.name), short_number(point.value), point.step);
    }
  }

  // A record's shares hold from the record before to its step.
  void draw_areas() {
    std::vector<double> below(chart_.curves.empty() ? 0 : chart_.curves.front().points.size(), 0.0);
    for (size_t part = 0; part < chart_.curves.size(); part++) {
      const auto& points = chart_.curves[part].points;
      std::string back;
      fmt::format_to(out_, R"(<path class="area {}" d="M)", part_class(part));
      for (size_t i = 0; i < points.size(); i++) {
        const double from = x(i == 0 ? 0 : static_cast<double>(points[i - 1].step)), to = x(static_cast<double>(points[i].step));
        const double low = below[i], high = std::min(100.0, below[i] + points[i].value);
        fmt::format_to(out_, "{:.1f} {:.1f}L{:.1f} {:.1f}L", from, y(high), to, y(high));
        back.insert(0, fmt::format("{:.1f} {:.1f}L{:.1f} {:.1f}{}", to, y(low), from, y(low), back.empty() ? "" : "L"));
        below[i] = high;
      }
      svg_ += back + "Z\"/>";
    }
  }

  const Chart& chart_;
  const std::vector<RunData>& runs_;
  const bool logarithmic_;
  const Axis x_axis_, y_axis_;
  std::string svg_;
  Out out_{svg_};
};

}  // namespace

std::string html_text(const std::string& text) {
  std::string escaped;
  for (const char c : text) switch (c) {
      case '&': escaped += "&amp;"; break;
      case '<': escaped += "&lt;"; break;
      case '>': escaped += "&gt;"; break;
      case '"': escaped += "&quot;"; break;
      case '\'': escaped += "&#39;"; break;
      default: escaped += c;
    }
  return escaped;
}

std::vector<CurveStyle> styles_of(const Chart& chart, size_t runs) {
  std::vector<CurveStyle> styles;
  std::vector<std::string> names;
  for (size_t i = 0; i < chart.curves.size(); i++) {
    const auto& curve = chart.curves[i];
    const auto place = static_cast<size_t>(std::find(names.begin(), names.end(), curve.name) - names.begin());
    if (place == names.size()) names.push_back(curve.name);
    styles.push_back(runs > 1 ? CurveStyle{curve.run % 8, place % 4} : CurveStyle{i % 8, i / 8 % 4});
  }
  return styles;
}

std::string classes_of(const CurveStyle& style) {
  return style.dash == 0 ? fmt::format("c{}", style.color) : fmt::format("c{} d{}", style.color, style.dash);
}

std::string part_class(size_t part) { return fmt::format("p{}", part); }

std::string svg_of(const Chart& chart, const std::vector<RunData>& runs, int64_t last) { return Drawing(chart, runs, last).draw(); }

}  // namespace levin::report
