#include "axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "number_forms.h"

namespace levin::report {
namespace {

// 1, 2 or 5 times a power of ten: the least with at most `most` steps in the range.
double tick_distance(double range, int most) {
  const double least = range / most, power = std::pow(10, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= least * (1 - 1e-9)) return factor * power;
  return 10 * power;
}

std::string without_zeros(std::string digits) {
  if (digits.find('.') == std::string::npos) return digits;
  digits.erase(digits.find_last_not_of('0') + 1);
  if (digits.ends_with('.')) digits.pop_back();
  return digits;
}

// As many digits as ticks at this distance need.
std::string tick_label(double value, double distance) {
  if (std::abs(value) < distance * 1e-6) return "0";
  const double size = std::max(std::abs(value), distance);
  static constexpr std::array<std::pair<double, const char*>, 3> powers{{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}}};
  if (size >= 1e12 || size < 1e-3) {
    const int digits = std::clamp(static_cast<int>(std::ceil(std::log10(std::abs(value) / distance))), 0, 6);
    auto text = fmt::format("{:.{}e}", value, digits);
    const auto exponent = text.find('e');
    return without_zeros(text.substr(0, exponent)) + fmt::format("e{}", std::stoi(text.substr(exponent + 1)));
  }
  if (size >= 1e4)
    for (const auto& [power, name] : powers)
      if (std::abs(value) >= power)
        return without_zeros(
                   fmt::format("{:.{}f}", value / power, std::clamp(static_cast<int>(std::ceil(-std::log10(distance / power))), 0, 9))) +
               name;
  return without_zeros(fmt::format("{:.{}f}", value, std::clamp(static_cast<int>(std::ceil(-std::log10(distance) - 1e-9)), 0, 9)));
}

}  // namespace

Axis::Axis(double low, double high, bool logarithmic, const std::string& unit, int most_ticks)
    : low_(low), high_(high), logarithmic_(logarithmic), unit_(unit) {
  constexpr double least = 1e-290;  // whose parts are still numbers
  if (!logarithmic && !(high_ - low_ > least)) {
    const double half = std::abs(low_) > 20 * least ? 0.05 * std::abs(low_) : 1;
    low_ -= half;
    high_ += half;
  }
  if (logarithmic_) {
    const auto first = static_cast<int>(std::ceil(std::log10(low_) - 1e-9)), last = static_cast<int>(std::floor(std::log10(high_) + 1e-9));
    const int every = std::max(1, (last - first + most_ticks) / std::max(1, most_ticks));
    for (int power = first; power <= last; power += every)
      ticks_.push_back({std::pow(10, power), power >= -3 && power <= 3 ? without_zeros(fmt::format("{:.3f}", std::pow(10, power)))
                                                                       : fmt::format("1e{}", power)});
    return;
  }
  double scale = 1;
  if (unit == "B") {
    const auto largest = byte_unit(high_);
    scale = largest.bytes, unit_ = largest.name;
  }
  const double distance = tick_distance((high_ - low_) / scale, most_ticks);
  const double first = std::ceil(low_ / scale / distance - 1e-9), last = std::floor(high_ / scale / distance + 1e-9);
  for (double i = first; i <= last && ticks_.size() < 50; i++) ticks_.push_back({i * distance * scale, tick_label(i * distance, distance)});
}

double Axis::place(double value) const {
  if (logarithmic_) return value > 0 ? (std::log(value) - std::log(low_)) / (std::log(high_) - std::log(low_)) : -1;
  return (value - low_) / (high_ - low_);
}

}  // namespace levin::report
