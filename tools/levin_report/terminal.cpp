#include "terminal.h"

#include <fmt/format.h>
#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <clocale>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <string_view>

#include "axis.h"
#include "levin/core/number_text.h"
#include "number_forms.h"
#include "svg.h"

namespace levin::report {
namespace {

constexpr size_t label_columns = 9, plot_rows = 10, least_columns = 40, most_columns = 240;
constexpr std::string_view marks = "*o+x#@%&";
constexpr std::array colors{"34", "33", "32", "35", "36", "31", "94", "93"};

/// A plot of characters. Each cell has 2 x 4 dots in UTF-8, else one.
class Canvas {
 public:
  Canvas(size_t columns, bool dots) : columns_(columns), dots_(dots), cells_(columns * plot_rows) {}

  size_t width() const { return columns_ * (dots_ ? 2 : 1); }
  size_t height() const { return plot_rows * (dots_ ? 4 : 1); }
  void restart(size_t x) {
    for (size_t row = 0; row < plot_rows; row++) cells_[row * columns_ + x / (dots_ ? 2 : 1)].restart = true;
  }
  void mark(size_t x, size_t y, size_t curve) {
    static constexpr uint8_t dot_bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    auto& cell = dots_ ? cells_[y / 4 * columns_ + x / 2] : cells_[y * columns_ + x];
    cell.dots = static_cast<uint8_t>(cell.dots | (dots_ ? dot_bits[y % 4][x % 2] : 1));
    cell.curve = curve;
  }
  /// As far as a terminal shows it: between neighbouring columns.
  void line(double x0, double y0, double x1, double y1, size_t curve) {
    const auto steps = static_cast<size_t>(std::ceil(std::max({1.0, std::abs(x1 - x0), std::abs(y1 - y0)})));
    for (size_t i = 0; i <= steps; i++) {
      const double part = static_cast<double>(i) / static_cast<double>(steps);
      mark(static_cast<size_t>(std::lround(x0 + part * (x1 - x0))), static_cast<size_t>(std::lround(y0 + part * (y1 - y0))), curve);
    }
  }
  template <class Draw>
  std::string row(size_t row, const Draw& draw) const {
    std::string text;
    for (size_t column = 0; column < columns_; column++) text += draw(cells_[row * columns_ + column]);
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
  }

  struct Cell {
    uint8_t dots = 0;
    bool restart = false;
    size_t curve = 0;
  };

 private:
  size_t columns_;
  bool dots_;
  std::vector<Cell> cells_;
};

std::string braille(uint8_t dots) {
  return {static_cast<char>(0xe2), static_cast<char>(0xa0 | dots >> 6), static_cast<char>(0x80 | (dots & 0x3f))};
}

// How many columns a text takes, if every character takes one.
size_t columns_of(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

class Terminal {
 public:
  Terminal(const std::vector<RunData>& runs, const TerminalOptions& options, int64_t last)
      : runs_(runs), options_(options), columns_(std::clamp(options.columns, least_columns, most_columns)), last_(last) {}

  std::string write(const std::vector<Chart>& charts) {
    for (size_t run = 0; run < runs_.size(); run++) write_run(run);
    for (const auto& chart : charts)
      if (!chart.stacked) write_chart(chart);
    write_times();
    return std::move(text_);
  }

 private:
  // A name of a run may have characters that the terminal lacks.
  std::string shown(const std::string& text) const {
    if (options_.utf8) return text;
    std::string ascii;
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x80)
        ascii += c;
      else if ((byte & 0xc0) == 0xc0)
        ascii += '?';
    }
    return ascii;
  }
  void line(const std::string& text) { text_ += text + "\n"; }
  std::string colored(const std::string& text, size_t color) const {
    return options_.colors ? fmt::format("\x1b[{}m{}\x1b[0m", colors[color % colors.size()], text) : text;
  }

  void write_run(size_t index) {
    const auto& run = runs_[index];
    line(colored(shown(run.label), runs_.size() > 1 ? index : 0));
    size_t width = 0;
    for (const auto& fact : run.facts) width = std::max(width, fact.first.size());
    for (const auto& [name, value] : run.facts) line(fmt::format("  {:<{}}  {}", name, width, shown(value)));
    for (const auto& attempt : run.attempts) {
      if (run.attempts.size() < 2) continue;
      line(fmt::format(
          "  attempt from step {}{}{}{}", attempt.first_step, attempt.steps ? fmt::format(", {} steps", *attempt.steps) : "",
          attempt.exit_code ? fmt::format(": {} (exit code {})", shown(attempt.exit_reason), *attempt.exit_code) : ": running, or killed",
          attempt.abandoned ? ", abandoned" : ""));
    }
    line("");
  }

  // Curves without colors have marks, unless a chart has one alone.
  bool uses_dots(const Chart& chart) const { return options_.utf8 && (options_.colors || chart.curves.size() == 1); }

  void write_chart(const Chart& chart) {
    const bool dots = uses_dots(chart), logarithmic = chart.logarithmic();
    const Axis x_axis(0, static_cast<double>(last_), false, "", 5), y_axis(chart.low(), chart.high(), logarithmic, chart.unit, 5);
    Canvas canvas(columns_ - label_columns - 2, dots);
    const auto x = [&](double step) { return std::clamp(x_axis.place(step), 0.0, 1.0) * static_cast<double>(canvas.width() - 1); };
    const auto y = [&](double value) { return (1 - std::clamp(y_axis.place(value), 0.0, 1.0)) * static_cast<double>(canvas.height() - 1); };
    for (const auto& run : runs_)
      for (const int64_t step : run.restarts()) canvas.restart(static_cast<size_t>(std::lround(x(static_cast<double>(step) - 0.5))));
    const auto styles = styles_of(chart, runs_.size());
    for (size_t i = 0; i < chart.curves.size(); i++) {
      const auto& points = chart.curves[i].points;
      for (size_t p = 0; p < points.size(); p++) {
        const auto &from = points[p == 0 ? 0 : p - 1], &to = points[p];
        canvas.line(x(static_cast<double>(from.step)), y(from.value), x(static_cast<double>(to.step)), y(to.value), i);
      }
    }
    write_title(chart, styles, dots, y_axis);
    const auto draw = [&](const Canvas::Cell& cell) -> std::string {
      if (cell.dots == 0) return cell.restart ? (options_.utf8 ? "┊" : ":") : " ";
      const auto symbol = dots ? braille(cell.dots) : std::string(1, marks[cell.curve % marks.size()]);
      return colored(symbol, styles[cell.curve].color);
    };
    for (size_t row = 0; row < plot_rows; row++) {
      const std::string label = row % 3 == 0 ? value_label(y_axis, 1 - static_cast<double>(row) / (plot_rows - 1), chart.unit) : "";
      line(fmt::format("{:>{}} {}{}", label, label_columns, options_.utf8 ? "│" : "|", canvas.row(row, draw)));
    }
    const auto last_label = fmt::to_string(last_);
    const size_t plot_columns = columns_ - label_columns - 2;
    line(fmt::format("{:>{}} {}", "step", label_columns, options_.utf8 ? "└" : "+") + repeated(options_.utf8 ? "─" : "-", plot_columns));
    line(fmt::format("{:>{}}  0{:>{}}", "", label_columns, last_label, plot_columns - 1));
    line("");
  }

  static std::string repeated(std::string_view text, size_t count) {
    std::string all;
    for (size_t i = 0; i < count; i++) all += text;
    return all;
  }

  static std::string value_label(const Axis& axis, double part, const std::string& unit) {
    const double value = axis.logarithmic() ? std::exp(std::log(axis.low()) + part * (std::log(axis.high()) - std::log(axis.low())))
                                            : axis.low() + part * (axis.high() - axis.low());
    return unit == "B" ? bytes_form(value) : short_number(std::abs(value) < 1e-9 * (axis.high() - axis.low()) ? 0 : value);
  }

  void write_title(const Chart& chart, const std::vector<CurveStyle>& styles, bool dots, const Axis& axis) {
    std::string title = shown(chart.title);
    if (!chart.unit.empty() && chart.unit != "B") title += ", " + shown(chart.unit);
    if (axis.logarithmic()) title += ", logarithmic";
    line(title);
    std::string keys;
    size_t used = 0;
    for (size_t i = 0; i < chart.curves.size(); i++) {
      const auto& curve = chart.curves[i];
      const auto value = curve.points.empty() ? std::string("no finite value")
                         : chart.unit == "B"  ? bytes_form(curve.points.back().value)
                                              : short_number(curve.points.back().value);
      auto key = fmt::format("{}{} {}", runs_.size() > 1 ? shown(runs_[curve.run].label) + ": " : "", shown(curve.name), value);
      if (!curve.not_finite.empty())
        key += fmt::format(", {} at step {}", short_number(curve.not_finite.front().value), curve.not_finite.front().step);
      const auto mark = dots ? (options_.utf8 ? std::string("━") : "-") : std::string(1, marks[i % marks.size()]);
      const size_t columns = columns_of(key) + 5;
      if (used > 0 && used + columns > columns_) keys += "\n", used = 0;
      used += columns;
      keys += fmt::format("  {} {} ", colored(mark, styles[i].color), key);
    }
    line(keys);
  }

  void write_times() {
    constexpr size_t name_columns = 14, other_columns = 25;
    for (const auto& run : runs_) {
      const auto seconds = time_by_part(run);
      const double all = std::accumulate(seconds.begin(), seconds.end(), 0.0);
      if (!(all > 0)) continue;
      line(fmt::format("time of rank 0{}: {}", runs_.size() > 1 ? ", " + shown(run.label) : "", duration_text(all)));
      for (size_t i = 0; i < seconds.size(); i++) {
        const double share = seconds[i] / all;
        const auto blocks = static_cast<size_t>(std::lround(share * static_cast<double>(columns_ - name_columns - other_columns)));
        line(fmt::format("  {:<{}}{:>12}{:>7} %  {}", time_parts[i], name_columns, duration_text(seconds[i]),
                         fmt::format("{:.1f}", 100 * share), repeated(options_.utf8 ? "█" : "#", blocks)));
      }
      line("");
    }
  }

  const std::vector<RunData>& runs_;
  const TerminalOptions options_;
  const size_t columns_;
  const int64_t last_;
  std::string text_;
};

}  // namespace

std::string terminal_text(const std::vector<RunData>& runs, const std::vector<Chart>& charts, const TerminalOptions& options) {
  return Terminal(runs, options, last_step(charts)).write(charts);
}

TerminalOptions options_of_terminal() {
  TerminalOptions options;
  std::setlocale(LC_CTYPE, "");
  options.utf8 = std::string_view(nl_langinfo(CODESET)) == "UTF-8";
  std::setlocale(LC_CTYPE, "C");
  const bool is_terminal = isatty(STDOUT_FILENO) == 1;
  winsize size{};
  const char *columns = std::getenv("COLUMNS"), *no_color = std::getenv("NO_COLOR"), *kind = std::getenv("TERM");
  if (is_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    options.columns = size.ws_col;
  else if (columns)
    options.columns = parse_number<size_t>(columns).value_or(options.columns);
  options.colors = is_terminal && !(no_color && *no_color) && !(kind && std::string_view(kind) == "dumb");
  return options;
}

}  // namespace levin::report
