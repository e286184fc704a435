#include "levin/comm/agree.h"

#include "levin/comm/host_values.h"
#include "levin/comm/mpi_runtime.h"
#include "ranges.h"

namespace levin {
namespace {

/// "name=value" lines, so that ranks of different programs can still be compared.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0, end; begin < text.size(); begin = end + 1) {
    end = text.find('\n', begin);
    lines.push_back(text.substr(begin, end - begin));
  }
  return lines;
}

std::string first_difference(const std::string& one, const std::string& other, int rank) {
  const auto left = lines_of(one), right = lines_of(other);
  for (size_t i = 0; i < std::max(left.size(), right.size()); i++) {
    const std::string a = i < left.size() ? left[i] : "nothing", b = i < right.size() ? right[i] : "nothing";
    if (a != b) return fmt::format("rank 0 has {}, rank {} has {}", a, rank, b);
  }
  return {};
}

}  // namespace

Agreement agree(const MpiRuntime& runtime, const Standing& mine) {
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
  const int odd = first_rank_with(differs != 0);
  if (odd == size) return {};
  std::vector<char> all(static_cast<size_t>(size));
  check_mpi(MPI_Allgather(&differs, 1, MPI_CHAR, all.data(), 1, MPI_CHAR, runtime.communicator()), "MPI_Allgather");
  std::vector<int> odd_ranks;
  for (int i = 0; i < size; i++)
    if (all[static_cast<size_t>(i)]) odd_ranks.push_back(i);
  const std::string odd_text = broadcast_text(runtime.communicator(), text, odd);
  return {ExitCode::bad_config, odd,
          fmt::format(
              "[comm] the ranks did not start alike: {} {} from rank 0: {}; start the same program with the same options and libraries "
              "on every host",
              odd_ranks.size() == 1 ? "rank" : "ranks", detail::format_ranges(odd_ranks) + (odd_ranks.size() == 1 ? " differs" : " differ"),
              first_difference(first_text, odd_text, odd))};
}

}  // namespace levin
