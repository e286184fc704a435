#include "levin/comm/same_on_all_ranks.h"

#include <fmt/format.h>

#include <algorithm>

#include "../core/host_name.h"
#include "../core/lines.h"
#include "levin/comm/host_values.h"
#include "levin/comm/mpi_runtime.h"
#include "ranges.h"

namespace levin {
namespace {

constexpr size_t most_differences = 3;

std::string text_of_values(const std::vector<std::pair<std::string, std::string>>& values) {
  std::string text;
  for (auto [name, value] : values) {
    for (char& letter : value)
      if (letter == '\n') letter = ' ';
    text += fmt::format("{} {}\n", name, value);
  }
  return text;
}

std::string differing_values(const std::string& expected, const std::string& actual, int rank) {
  const auto expected_lines = detail::lines_of(expected), actual_lines = detail::lines_of(actual);
  std::vector<std::string> found;
  for (size_t i = 0; i < std::max(expected_lines.size(), actual_lines.size()) && found.size() < most_differences; i++) {
    const std::string a = i < expected_lines.size() ? expected_lines[i] : "nothing",
                      b = i < actual_lines.size() ? actual_lines[i] : "nothing";
    if (a != b) found.push_back(fmt::format("rank 0 has {}, rank {} has {}", a, rank, b));
  }
  return fmt::format("{}", fmt::join(found, "; "));
}

// The first lines of a text that another lacks.
std::string missing_lines(const std::string& text, const std::string& from) {
  const auto others = detail::lines_of(from);
  std::vector<std::string> found;
  for (const auto& line : detail::lines_of(text))
    if (found.size() < most_differences && std::find(others.begin(), others.end(), line) == others.end()) found.push_back(line);
  return fmt::format("{}", fmt::join(found, ", "));
}

// The values that differ between rank 0 and another rank, and their hosts. Collective.
std::string explain_difference(const MpiRuntime& runtime, const RankStatus& mine, const std::string& text, const std::string& first_text,
                               int differing) {
  const auto both = [&](const std::string& of_mine) {
    auto first = broadcast_text(runtime.communicator(), of_mine, 0);
    return std::pair(std::move(first), broadcast_text(runtime.communicator(), of_mine, differing));
  };
  const auto differing_text = broadcast_text(runtime.communicator(), text, differing);
  auto explained = differing_values(first_text, differing_text, differing);
  // The names of the details are rank 0's, so that all ranks make the same calls.
  std::string names;
  for (const auto& [name, detail] : mine.details) names += name + "\n";
  for (const auto& name : detail::lines_of(broadcast_text(runtime.communicator(), names, 0))) {
    std::string detail;
    for (const auto& [own_name, own] : mine.details)
      if (own_name == name) detail = own;
    const auto [first, other] = both(detail);
    const auto only_first = missing_lines(first, other), only_other = missing_lines(other, first);
    const bool value_differs = missing_lines(first_text, differing_text).find(name + " ") != std::string::npos;
    if (value_differs && (!only_first.empty() || !only_other.empty()))
      explained += fmt::format("; {}: rank 0 has {}, rank {} has {}", name, only_first.empty() ? "nothing more" : only_first, differing,
                               only_other.empty() ? "nothing more" : only_other);
  }
  const auto [first_host, other_host] = both(detail::host_name());
  return explained + fmt::format(" (rank 0 on {}, rank {} on {})", first_host, differing, other_host);
}

}  // namespace

Agreement check_same_on_all_ranks(const MpiRuntime& runtime, const RankStatus& mine) {
  const int size = runtime.size();
  const auto first_rank_with = [&](bool me) {
    int mine_or_none = me ? runtime.rank() : size, first = size;
    check_mpi(MPI_Allreduce(&mine_or_none, &first, 1, MPI_INT, MPI_MIN, runtime.communicator()), "MPI_Allreduce");
    return first;
  };
  if (const int bad = first_rank_with(mine.code != ExitCode::finished); bad < size) {
    int code = static_cast<int>(mine.code);
    check_mpi(MPI_Bcast(&code, 1, MPI_INT, bad, runtime.communicator()), "MPI_Bcast");
    return {static_cast<ExitCode>(code), bad, broadcast_text(runtime.communicator(), mine.message, bad)};
  }

  const std::string text = text_of_values(mine.must_be_equal);
  const std::string first_text = broadcast_text(runtime.communicator(), text, 0);
  const char differs = text == first_text ? 0 : 1;
  const int differing = first_rank_with(differs != 0);
  if (differing == size) return {};
  std::vector<char> all(static_cast<size_t>(size));
  check_mpi(MPI_Allgather(&differs, 1, MPI_CHAR, all.data(), 1, MPI_CHAR, runtime.communicator()), "MPI_Allgather");
  std::vector<int> differing_ranks;
  for (int i = 0; i < size; i++)
    if (all[static_cast<size_t>(i)]) differing_ranks.push_back(i);
  return {
      ExitCode::bad_config, differing,
      fmt::format("[comm] the ranks did not start alike: {} {} from rank 0: {}; start the same program with the same options and libraries "
                  "on every host",
                  differing_ranks.size() == 1 ? "rank" : "ranks",
                  detail::format_ranges(differing_ranks) + (differing_ranks.size() == 1 ? " differs" : " differ"),
                  explain_difference(runtime, mine, text, first_text, differing))};
}

}  // namespace levin
