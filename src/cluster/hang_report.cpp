#include "hang_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "../comm/ranges.h"
#include "../core/lines.h"

namespace levin::detail {
namespace {

std::vector<std::string> filled_lines(const std::string& text) {
  auto lines = lines_of(text);
  std::erase(lines, "");
  return lines;
}

struct PositionGroup {
  std::vector<int> ranks;
  const RankPosition* first;
};

// The hook is the first line of the context; shapes of units and batches differ between ranks that do the same.
std::string hook_of(const RankPosition& position) {
  const auto lines = filled_lines(position.context);
  return lines.empty() ? std::string() : lines.front();
}

std::vector<PositionGroup> group_positions(const std::vector<std::optional<RankPosition>>& positions) {
  std::vector<PositionGroup> groups;
  for (const auto& position : positions) {
    if (!position) continue;
    const auto same = [&](const PositionGroup& group) {
      const auto& first = *group.first;
      return first.phase == position->phase && first.step == position->step && first.calls == position->calls &&
             hook_of(first) == hook_of(*position);
    };
    const auto found = std::find_if(groups.begin(), groups.end(), same);
    if (found == groups.end())
      groups.push_back({{position->rank}, &*position});
    else
      found->ranks.push_back(position->rank);
  }
  return groups;
}

std::string ranks_and_hosts(const std::vector<int>& ranks, const std::vector<ReportedRank>& all) {
  constexpr size_t most_hosts = 4;
  std::vector<std::string> hosts;
  for (const int rank : ranks)
    if (const auto& host = all[static_cast<size_t>(rank)].host; std::find(hosts.begin(), hosts.end(), host) == hosts.end())
      hosts.push_back(host);
  std::string text = fmt::format("{} {} on ", ranks.size() == 1 ? "rank" : "ranks", format_ranges(ranks));
  for (size_t i = 0; i < std::min(hosts.size(), most_hosts); i++) text += (i > 0 ? ", " : "") + hosts[i];
  if (hosts.size() > most_hosts) text += fmt::format(" and {} other hosts", hosts.size() - most_hosts);
  return text;
}

void add_missing(std::vector<std::string>& lines, const std::vector<std::optional<RankPosition>>& positions,
                 const std::vector<ReportedRank>& ranks) {
  constexpr size_t most_named = 8;
  std::vector<int> missing;
  for (size_t rank = 0; rank < positions.size(); rank++)
    if (!positions[rank]) missing.push_back(static_cast<int>(rank));
  for (size_t i = 0; i < std::min(missing.size(), most_named); i++) {
    const auto& [host, note] = ranks[static_cast<size_t>(missing[i])];
    lines.push_back(fmt::format("  rank {} on {} is missing: no answer{}{}", missing[i], host, note.empty() ? "" : "; ", note));
  }
  if (missing.size() > most_named)
    lines.push_back(fmt::format("  {} more are missing: {}", missing.size() - most_named,
                                ranks_and_hosts({missing.begin() + most_named, missing.end()}, ranks)));
}

}  // namespace

std::string describe_hang(const std::vector<std::optional<RankPosition>>& positions, const std::vector<ReportedRank>& ranks,
                          size_t most_lines) {
  double longest = 0;
  size_t answers = 0;
  for (const auto& position : positions)
    if (position) longest = std::max(longest, position->idle_seconds), answers++;
  std::vector<std::string> lines{fmt::format(
      "[cluster] the job hangs: no batch or save was completed for {:.0f} s; {} of {} ranks answered", longest, answers, positions.size())};
  add_missing(lines, positions, ranks);
  const auto groups = group_positions(positions);
  constexpr size_t least_lines = 2, most_stack = 24;  // of a group without its stack: ranks, hook
  const size_t room = most_lines > lines.size() + 1 ? most_lines - lines.size() - 1 : 0;
  const size_t shown = std::min(groups.size(), room / least_lines);
  const size_t stack_lines = shown == 0 ? 0 : std::min(most_stack, (room - shown * least_lines) / shown);
  for (size_t i = 0; i < shown; i++) {
    const auto& [members, first] = groups[i];
    lines.push_back(fmt::format("  {}: {}, step {}, {}", ranks_and_hosts(members, ranks), first->phase, first->step,
                                first->calls.empty() ? "in no collective" : "in " + first->calls));
    if (!first->answered)
      lines.push_back("    its thread does not answer: it waits in the kernel, as for a file system");
    else if (const auto hook = hook_of(*first); !hook.empty())
      lines.push_back("  " + hook);
    if (const auto stack = filled_lines(first->stack); !stack.empty() && stack_lines > 1) {
      lines.push_back(members.size() == 1 ? "    stack, innermost first:"
                                          : fmt::format("    stack of rank {}, innermost first:", first->rank));
      for (size_t line = 0; line < std::min(stack.size(), stack_lines - 1); line++) lines.push_back("  " + stack[line]);
    }
  }
  if (shown < groups.size()) lines.push_back(fmt::format("  {} more groups of ranks", groups.size() - shown));
  std::string text;
  for (const auto& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

}  // namespace levin::detail
