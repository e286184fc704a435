#include "page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "levin/core/version.h"
#include "number_forms.h"
#include "page_files.h"
#include "svg.h"

namespace levin::report {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson number_json(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

template <class T>
OrderedJson optional_json(const std::optional<T>& value) {
  return value ? OrderedJson(*value) : OrderedJson();
}

OrderedJson run_json(const RunData& run) {
  OrderedJson json{{"name", run.label}, {"restarts", run.restarts()}, {"attempts", OrderedJson::array()}, {"time", OrderedJson::object()}};
  for (const auto& attempt : run.attempts)
    json["attempts"].push_back({{"first_step", attempt.first_step},
                                {"steps", optional_json(attempt.steps)},
                                {"seconds", optional_json(attempt.seconds)},
                                {"exit_code", optional_json(attempt.exit_code)},
                                {"reason", attempt.exit_reason},
                                {"started", attempt.started},
                                {"job", attempt.job},
                                {"abandoned", attempt.abandoned}});
  const auto seconds = time_by_part(run);
  for (size_t i = 0; i < time_part_count && !run.timings.empty(); i++) json["time"][time_parts[i]] = seconds[i];
  return json;
}

OrderedJson chart_json(const Chart& chart) {
  OrderedJson json{{"title", chart.title},
                   {"unit", chart.unit},
                   {"stacked", chart.stacked},
                   {"logarithmic", chart.logarithmic()},
                   {"curves", OrderedJson::array()}};
  for (const auto& curve : chart.curves) {
    OrderedJson steps = OrderedJson::array(), values = OrderedJson::array(), not_finite = OrderedJson::array();
    for (const auto& point : curve.points) steps.push_back(point.step), values.push_back(point.value);
    for (const auto& point : curve.not_finite) not_finite.push_back({point.step, number_json(point.value)});
    json["curves"].push_back({{"run", curve.run},
                              {"name", curve.name},
                              {"count", curve.values},
                              {"steps", steps},
                              {"values", values},
                              {"not_finite", not_finite}});
  }
  return json;
}

// JSON that HTML cannot mistake for the end of a script, or for a comment.
std::string data_json(const std::vector<RunData>& runs, const std::vector<Chart>& charts) {
  OrderedJson json{{"version", 1},
                   {"plot", {{"width", svg_width}, {"left", plot_left}, {"right", plot_right}}},
                   {"last_step", last_step(charts)},
                   {"runs", OrderedJson::array()},
                   {"charts", OrderedJson::array()}};
  for (const auto& run : runs) json["runs"].push_back(run_json(run));
  for (const auto& chart : charts) json["charts"].push_back(chart_json(chart));
  std::string escaped;
  for (const char c : json.dump(-1, ' ', /*ensure_ascii=*/true)) {
    if (c == '<' || c == '>' || c == '&')
      escaped += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      escaped += c;
  }
  return escaped;
}

class Page {
 public:
  Page(const std::vector<RunData>& runs, const std::vector<Chart>& charts) : runs_(runs), charts_(charts), last_(last_step(charts)) {}

  std::string write(const std::string& written) {
    const auto title = runs_.size() == 1 ? runs_.front().label : fmt::format("{} runs", runs_.size());
    add(R"(<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">)");
    add(R"(<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src '{}'; script-src '{}'">)",
        page_css_hash, page_script_hash);
    add(R"(<link rel="icon" href="data:,"><title>{} - levin-report</title><style>)", html_text(title));
    page_ += page_css;
    add("</style></head><body><h1>{}</h1>", html_text(title));
    for (const auto& run : runs_)
      for (const auto& problem : run.problems) add(R"(<p class="problem">{}</p>)", html_text(problem));
    write_runs();
    write_section(Section::metrics, "Metrics", "");
    write_section(Section::resources, "Learning rate, throughput, memory", "");
    write_times();
    if (runs_.size() > 1) write_differences();
    write_options();
    add(R"(<p class="quiet">levin-report {}, {}. )", version, html_text(written));
    add("Dashed vertical lines are restarts. A curve of very many values shows the least and the largest of equal ranges.</p>");
    add(R"(<script type="application/json" id="report-data">{}</script><script>)", data_json(runs_, charts_));
    page_ += page_script;
    add("</script></body></html>\n");
    return std::move(page_);
  }

 private:
  template <class... Values>
  void add(fmt::format_string<Values...> form, Values&&... values) {
    fmt::format_to(std::back_inserter(page_), form, std::forward<Values>(values)...);
  }

  void add_swatch(const std::string& classes) {
    add(R"(<svg viewBox="0 0 26 10" aria-hidden="true"><line class="{}" x1="1" x2="25" y1="5" y2="5"/></svg>)", classes);
  }

  void write_runs() {
    add(R"(<div class="runs{}">)", runs_.size() == 1 ? " alone" : "");
    for (size_t i = 0; i < runs_.size(); i++) {
      const auto& run = runs_[i];
      add(R"(<div class="card">)");
      if (runs_.size() > 1) {
        add(R"(<h3 class="key">)");
        add_swatch(classes_of({.color = i % 8}));
        add("{}</h3>", html_text(run.label));
      }
      add("<dl>");
      for (const auto& [name, value] : run.facts) add("<div><dt>{}</dt><dd>{}</dd></div>", html_text(name), html_text(value));
      add("</dl></div>");
    }
    add("</div>");
    write_attempts();
  }

  void write_attempts() {
    const bool restarted = std::any_of(runs_.begin(), runs_.end(), [](const auto& run) { return run.attempts.size() > 1; });
    if (!restarted) return;
    const bool several = runs_.size() > 1;
    add(R"(<h2>Attempts</h2><div class="card wide"><table><tr>{}<th class="number">first step</th><th class="number">steps</th>)",
        several ? "<th>run</th>" : "");
    add(R"(<th>started</th><th class="number">duration</th><th class="number">exit code</th><th>reason</th><th>job</th></tr>)");
    for (const auto& run : runs_)
      for (const auto& attempt : run.attempts) {
        add("<tr{}>{}", attempt.abandoned ? R"( class="abandoned" title="the training resumed from an earlier step")" : "",
            several ? "<td>" + html_text(run.label) + "</td>" : "");
        add(R"(<td class="number">{}</td><td class="number">{}</td><td class="when">{}</td>)", attempt.first_step,
            attempt.steps ? fmt::to_string(*attempt.steps) : "", html_text(attempt.started));
        add(R"(<td class="number">{}</td><td class="number">{}</td>)", attempt.seconds ? duration_text(*attempt.seconds) : "",
            attempt.exit_code ? fmt::to_string(*attempt.exit_code) : "");
        add("<td>{}</td><td>{}</td></tr>", html_text(attempt.exit_code ? attempt.exit_reason : "running, or killed"),
            html_text(attempt.job));
      }
    add("</table></div>");
  }

  void write_section(Section section, const char* title, const std::string& note) {
    if (std::none_of(charts_.begin(), charts_.end(), [&](const auto& chart) { return chart.section == section; })) return;
    add("<h2>{}</h2>{}", title, note);
    add(R"(<div class="charts">)");
    for (size_t i = 0; i < charts_.size(); i++)
      if (charts_[i].section == section) write_chart(i);
    add("</div>");
  }

  void write_chart(size_t index) {
    const auto& chart = charts_[index];
    const auto unit = (chart.unit == "B" || chart.unit.empty() ? "" : ", " + chart.unit) + (chart.logarithmic() ? ", logarithmic" : "");
    add(R"(<figure data-chart="{}"><h3>{}<span class="unit-note">{}</span></h3>)", index, html_text(chart.title), html_text(unit));
    page_ += svg_of(chart, runs_, last_);
    add(R"(<ul class="key">)");
    const auto styles = styles_of(chart, runs_.size());
    for (size_t i = 0; i < chart.curves.size(); i++) {
      const auto& curve = chart.curves[i];
      add("<li>");
      if (chart.stacked)
        add(R"(<svg viewBox="0 0 26 10" aria-hidden="true"><rect class="{}" width="26" height="10"/></svg>)", part_class(i));
      else
        add_swatch(classes_of(styles[i]));
      const bool names_run = runs_.size() > 1 && !chart.stacked;
      add("{}{}", names_run ? html_text(runs_[curve.run].label) + ": " : "", html_text(curve.name));
      const auto& last = newest(curve);
      if (!chart.stacked) add(" <b>{}</b>", html_text(value_form(last, chart.unit)));
      add("</li>");
    }
    add("</ul></figure>");
  }

  static double newest(const Curve& curve) {
    const bool ends_badly = !curve.not_finite.empty() && (curve.points.empty() || curve.not_finite.back().step > curve.points.back().step);
    return ends_badly ? curve.not_finite.back().value : curve.points.empty() ? std::nan("") : curve.points.back().value;
  }

  static std::string value_form(double value, const std::string& unit) {
    if (unit == "B") return bytes_form(value);
    return short_number(value) + (unit.empty() ? "" : " " + unit);
  }

  void write_times() {
    if (std::all_of(runs_.begin(), runs_.end(), [](const auto& run) { return run.timings.empty(); })) return;
    const bool on_device =
        std::any_of(runs_.begin(), runs_.end(), [](const auto& run) { return !run.accelerator.empty() && run.accelerator != "cpu"; });
    write_section(
        Section::time, "Time of rank 0",
        on_device ? R"(<p class="quiet">Times of the host: what a device still computes appears where the host waits for it.</p>)" : "");
    add(R"(<div class="card wide time"><table><tr><th>run</th>)");
    for (const char* part : time_parts) add(R"(<th class="number">{}</th>)", part);
    add(R"(<th class="number">all</th></tr>)");
    for (const auto& run : runs_) {
      const auto seconds = time_by_part(run);
      const double all = std::accumulate(seconds.begin(), seconds.end(), 0.0);
      if (!(all > 0)) continue;
      add("<tr><td>{}</td>", html_text(run.label));
      for (const double part : seconds)
        add(R"(<td class="number">{}<br><span class="quiet">{:.1f} %</span></td>)", duration_text(part), 100 * part / all);
      add(R"(<td class="number">{}</td></tr><tr><td colspan="{}"><svg class="bar" viewBox="0 0 1000 16" preserveAspectRatio="none" aria-hidden="true">)",
          duration_text(all), time_part_count + 2);
      double at = 0;
      for (size_t i = 0; i < seconds.size(); i++) {
        add(R"(<rect class="{}" x="{:.2f}" width="{:.2f}" height="16"/>)", part_class(i), 1000 * at / all, 1000 * seconds[i] / all);
        at += seconds[i];
      }
      add("</svg></td></tr>");
    }
    add("</table></div>");
  }

  void write_differences() {
    std::map<std::string, std::vector<std::string>> values;
    for (size_t i = 0; i < runs_.size(); i++)
      for (const auto& [name, value] : runs_[i].options) {
        auto& of_all = values[name];
        of_all.resize(runs_.size());
        of_all[i] = value;
      }
    std::erase_if(values, [](const auto& option) {
      return std::all_of(option.second.begin(), option.second.end(), [&](const auto& value) { return value == option.second.front(); });
    });
    if (values.empty()) return;
    add(R"(<h2>Options that differ</h2><div class="card wide"><table><tr><th>option</th>)");
    for (const auto& run : runs_) add("<th>{}</th>", html_text(run.label));
    add("</tr>");
    for (const auto& [name, of_all] : values) {
      add("<tr><td>{}</td>", html_text(name));
      for (const auto& value : of_all) add("<td>{}</td>", html_text(value));
      add("</tr>");
    }
    add("</table></div>");
  }

  void write_options() {
    if (runs_.size() > 1 || runs_.front().options.empty()) return;
    add(R"(<h2>Options</h2><details class="card"><summary>{} options of the last attempt</summary><table>)", runs_.front().options.size());
    for (const auto& [name, value] : runs_.front().options) add("<tr><th>{}</th><td>{}</td></tr>", html_text(name), html_text(value));
    add("</table></details>");
  }

  const std::vector<RunData>& runs_;
  const std::vector<Chart>& charts_;
  const int64_t last_;
  std::string page_;
};

}  // namespace

std::string html_page(const std::vector<RunData>& runs, const std::vector<Chart>& charts, const std::string& written) {
  return Page(runs, charts).write(written);
}

}  // namespace levin::report
