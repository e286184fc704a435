#pragma once
// Strategy::missed_updates in a checkpoint: "count name", one parameter a line.
#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <string>

#include "../core/lines.h"
#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/session/state_dict.h"

namespace levin::detail {

inline const std::string missed_updates_key = "missed_updates";

inline void add_missed_updates(StateDict& state, const std::map<std::string, int64_t>& missed_updates) {
  std::string text;
  for (const auto& [name, count] : missed_updates) text += fmt::format("{} {}\n", count, name);
  if (!text.empty()) state.set(missed_updates_key, text);
}

/// DataError for another text.
inline std::map<std::string, int64_t> missed_updates_of(const StateDict& state) {
  std::map<std::string, int64_t> missed_updates;
  if (!state.contains(missed_updates_key)) return missed_updates;
  for (const auto& line : lines_of(state.get<std::string>(missed_updates_key))) {
    const size_t space = line.find(' ');
    const auto count = parse_number<int64_t>(line.substr(0, space));
    if (space == std::string::npos || !count || *count < 0)
      throw DataError(fmt::format("a checkpoint's {} has the line \"{}\"", missed_updates_key, line),
                      "resume from another checkpoint, or with the Levin that wrote it", "checkpoint");
    missed_updates.emplace(line.substr(space + 1), *count);
  }
  return missed_updates;
}

}  // namespace levin::detail
