// The links of ProgramOptions.
#include <algorithm>

#include "command_line.h"
#include "levin/cli/program_options.h"
#include "levin/core/error.h"

namespace levin {

void ProgramOptions::apply_links(const std::map<std::string, ConfigSource>& set) {
  for (const auto& link : links_) {
    if (!link.holds()) continue;
    for (const auto& [path, source] : set)
      if (path == link.target || path.starts_with(link.target + "."))
        ConfigLocation{link.target}.fail(source, fmt::format("is linked from {}", link.source),
                                         link.late ? "leave it out: the data module sets it" : fmt::format("set {} instead", link.source));
    if (!link.late) link.apply();
  }
}

bool ProgramOptions::has_late_links() const {
  return std::any_of(links_.begin(), links_.end(), [](const OptionLink& link) { return link.late && link.holds(); });
}

bool ProgramOptions::waits_for_a_link(const std::string& group) const {
  return !late_links_applied_ && std::any_of(links_.begin(), links_.end(), [&](const OptionLink& link) {
    return link.late && link.target.starts_with(group + ".") && link.holds();
  });
}

void ProgramOptions::apply_late_links() {
  for (const auto& link : links_)
    if (link.late && link.holds()) link.apply();
  late_links_applied_ = true;
  check();
}

void ProgramOptions::leave_out_linked(ConfigValue& root) const {
  for (const auto& link : links_) {
    if (!link.holds()) continue;
    const auto parts = detail::split_path(link.target);
    for (auto& group : root.entries)
      if (group.key == parts.front())
        std::erase_if(group.value.entries, [&](const ConfigEntry& entry) { return entry.key == parts.back(); });
  }
}

}  // namespace levin
