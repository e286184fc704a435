#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "charts.h"
#include "run_data.h"

namespace levin::report {

/// The text for HTML and SVG, in content and in quoted attributes.
std::string html_text(const std::string& text);

/// How a curve is drawn: colors 0 to 7, dashes 0 (solid) to 3. Of several runs each has its color, else each curve.
struct CurveStyle {
  size_t color = 0, dash = 0;
};
std::vector<CurveStyle> styles_of(const Chart& chart, size_t runs);
/// CSS classes of a style.
std::string classes_of(const CurveStyle& style);
/// The same for a part of the time.
std::string part_class(size_t part);

/// Where the plot lies in a chart's SVG, for the page's script, too.
inline constexpr int svg_width = 640, svg_height = 290, plot_left = 58, plot_right = 626, plot_top = 12, plot_bottom = 256;

/// A chart with axes, curves and the runs' restarts. Steps from 0 to `last`.
std::string svg_of(const Chart& chart, const std::vector<RunData>& runs, int64_t last);

}  // namespace levin::report
