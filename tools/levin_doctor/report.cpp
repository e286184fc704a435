#include "report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "levin/comm/host_values.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"

namespace levin::doctor {
namespace {

constexpr int name_width = 12, digits = 3;
constexpr size_t most_named = 8;

}  // namespace

void Report::line(const std::string& name, const std::string& text) const {
  if (topology_.self().rank != 0) return;
  std::string before = name;
  for (size_t begin = 0; begin < text.size() || begin == 0;) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    fmt::print("{:<{}}{}\n", before, name_width, text.substr(begin, end - begin));
    begin = end + 1;
    before.clear();
  }
  std::fflush(stdout);
}

void Report::spread(const std::string& name, const std::vector<double>& values, const std::vector<std::string>& labels,
                    const std::string& unit, Better better, const std::string& note) {
  const auto spread = spread_of(values, better);
  if (spread.count == 0) return;
  const auto number = [](double value) { return value_text(value, digits); };
  line(name, spread.count == 1
                 ? fmt::format("{} {}{}", number(spread.mean), unit, note)
                 : fmt::format("{} {} on average, {} to {}{}", number(spread.mean), unit, number(spread.least), number(spread.most), note));
  auto outliers = spread.outliers;
  std::stable_sort(outliers.begin(), outliers.end(),
                   [&](size_t a, size_t b) { return better == Better::higher ? values[a] < values[b] : values[a] > values[b]; });
  for (size_t i = 0; i < std::min(outliers.size(), most_named); i++)
    finding(
        fmt::format("{}: {}: {} {}, the average is {}", name, labels[outliers[i]], number(values[outliers[i]]), unit, number(spread.mean)));
  if (outliers.size() > most_named) finding(fmt::format("{}: {} more are as slow", name, outliers.size() - most_named));
}

std::vector<double> Report::gather(const std::string& name, const Measure& measure) {
  double value = std::numeric_limits<double>::quiet_NaN();
  std::string failure;
  try {
    value = measure();
  } catch (const CommunicatorAborted&) {
    throw;
  } catch (const std::exception& error) {
    failure = sanitized(error.what());
    failure.resize(std::min<size_t>(failure.size(), 300));
  }
  auto values = all_gather_value(communicator_, value);
  std::vector<int64_t> lengths;
  const auto texts = all_gather_values(communicator_, std::vector<char>(failure.begin(), failure.end()), &lengths);
  size_t at = 0, named = 0;
  for (size_t rank = 0; rank < lengths.size(); rank++) {
    const auto length = static_cast<size_t>(lengths[rank]);
    if (length > 0 && named++ < most_named)
      finding(fmt::format("{}: {}: {}", name, rank_name(static_cast<int>(rank)), std::string(texts.data() + at, length)));
    at += length;
  }
  return values;
}

std::string Report::rank_name(int rank) const {
  return fmt::format("rank {} on {}", rank, topology_.locations()[static_cast<size_t>(rank)].host);
}

std::vector<std::string> Report::rank_names() const {
  std::vector<std::string> names;
  for (const auto& location : topology_.locations()) names.push_back(rank_name(location.rank));
  return names;
}

int Report::end() const {
  if (topology_.self().rank == 0) {
    fmt::print("\n{}\n",
               findings_.empty() ? "no findings" : fmt::format("{} finding{}:", findings_.size(), findings_.size() == 1 ? "" : "s"));
    for (const auto& finding : findings_) fmt::print("- {}\n", finding);
    std::fflush(stdout);
  }
  return findings_.empty() ? 0 : 1;
}

}  // namespace levin::doctor
