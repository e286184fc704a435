#include "levin/comm/same_on_all_ranks.h"

#include "levin/comm/host_values.h"
#include "levin/comm/mpi_runtime.h"
#include "ranges.h"

namespace levin {
namespace {

/// Lines of "name=value", which ranks of different programs can compare.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0, end; begin < text.size(); begin = end + 1) {
    end = text.find('\n', begin);
    lines.push_back(text.substr(begin, end - begin));
  }
  return lines;
}

std::string first_difference(const std::string& expected, const std::string& actual, int rank) {
  const auto expected_lines = lines_of(expected), actual_lines = lines_of(actual);
  for (size_t i = 0; i < std::max(expected_lines.size(), actual_lines.size()); i++) {
    const std::string a = i < expected_lines.size() ? expected_lines[i] : "nothing",
                      b = i < actual_lines.size() ? actual_lines[i] : "nothing";
    if (a != b) return fmt::format("rank 0 has {}, rank {} has {}", a, rank, b);
  }
  return {};
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

  std::string text;
  for (auto [name, value] : mine.must_be_equal) {
    for (char& letter : value)
      if (letter == '\n') letter = ' ';
    text += fmt::format("{} {}\n", name, value);
  }
  const std::string first_text = broadcast_text(runtime.communicator(), text, 0);
  const char differs = text == first_text ? 0 : 1;
  const int differing = first_rank_with(differs != 0);
  if (differing == size) return {};
  std::vector<char> all(static_cast<size_t>(size));
  check_mpi(MPI_Allgather(&differs, 1, MPI_CHAR, all.data(), 1, MPI_CHAR, runtime.communicator()), "MPI_Allgather");
  std::vector<int> differing_ranks;
  for (int i = 0; i < size; i++)
    if (all[static_cast<size_t>(i)]) differing_ranks.push_back(i);
  const std::string differing_text = broadcast_text(runtime.communicator(), text, differing);
  return {
      ExitCode::bad_config, differing,
      fmt::format("[comm] the ranks did not start alike: {} {} from rank 0: {}; start the same program with the same options and libraries "
                  "on every host",
                  differing_ranks.size() == 1 ? "rank" : "ranks",
                  detail::format_ranges(differing_ranks) + (differing_ranks.size() == 1 ? " differs" : " differ"),
                  first_difference(first_text, differing_text, differing))};
}

}  // namespace levin
