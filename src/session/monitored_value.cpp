#include "levin/session/monitored_value.h"

namespace levin {

std::string forked_name(std::string_view name, Interval interval) {
  const size_t loader = name.rfind("/dataloader_idx_");
  std::string forked(name.substr(0, loader));
  forked += interval == Interval::step ? "_step" : "_epoch";
  if (loader != std::string_view::npos) forked += name.substr(loader);
  return forked;
}

const double* find_monitored(const NamedValues& values, std::string_view name, Interval preferred) {
  if (const double* value = find_value(values, name)) return value;
  if (const double* value = find_value(values, forked_name(name, preferred))) return value;
  return find_value(values, forked_name(name, preferred == Interval::step ? Interval::epoch : Interval::step));
}

}  // namespace levin
