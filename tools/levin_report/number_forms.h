#pragma once
// Numbers as a reader of charts wants them.
#include <string>

namespace levin::report {

/// Four significant digits: 0.1098, 12.35, 1.2e-05, 3474; nan, inf, -inf.
std::string short_number(double value);
/// 12 s, 3:05 min, 2:07:12 h
std::string duration_text(double seconds);

struct ByteUnit {
  double bytes;
  const char* name;
};
/// The largest unit, in powers of 1000, that is at most `bytes`: {1e9, "GB"}.
ByteUnit byte_unit(double bytes);
/// 1.25 GB, in powers of 1000
std::string bytes_form(double bytes);

}  // namespace levin::report
