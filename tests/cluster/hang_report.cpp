#include "../../src/cluster/hang_report.h"

#include <algorithm>

#include "levin_test.h"

using levin::detail::describe_hang;
using levin::detail::RankPosition;
using levin::detail::ReportedRank;

BOOST_AUTO_TEST_SUITE(cluster_hang_report)

namespace {

using Positions = std::vector<std::optional<RankPosition>>;

RankPosition waiting(int rank) {
  return {.rank = rank,
          .idle_seconds = 60.0 + rank,
          .phase = "fit",
          .step = 7,
          .calls = "barrier number 9",
          .context = {},
          .stack = "\n    wait\n    main"};
}
RankPosition computing(int rank) {
  return {.rank = rank,
          .idle_seconds = 60,
          .phase = "fit",
          .step = 7,
          .calls = {},
          .context = "\n  in training_step of Net, step 7\n  batch: x Float [" + std::to_string(rank) + "]",
          .stack = "\n    nanosleep\n    Net::training_step\n    main"};
}
std::vector<ReportedRank> on_one_host(size_t ranks) { return std::vector<ReportedRank>(ranks, {"node1", {}}); }
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
long lines_in(const std::string& text) { return std::count(text.begin(), text.end(), '\n') + 1; }

}  // namespace

BOOST_AUTO_TEST_CASE(equal_ranks_are_one_group) {
  Positions positions;
  for (int rank = 0; rank < 8; rank++) positions.emplace_back(rank == 5 ? computing(rank) : waiting(rank));
  BOOST_TEST(describe_hang(positions, on_one_host(8), 60) ==
             "[cluster] the job hangs: no batch or save was completed for 67 s; 8 of 8 ranks answered\n"
             "  ranks 0-4, 6-7 on node1: fit, step 7, in barrier number 9\n"
             "    stack of rank 0, innermost first:\n"
             "      wait\n"
             "      main\n"
             "  rank 5 on node1: fit, step 7, in no collective\n"
             "    in training_step of Net, step 7\n"
             "    stack, innermost first:\n"
             "      nanosleep\n"
             "      Net::training_step\n"
             "      main");
}

// Shapes differ between ranks that do the same; hooks, steps and calls make a difference.
BOOST_AUTO_TEST_CASE(what_makes_a_group) {
  auto later = computing(2), elsewhere = computing(3);
  later.step = 8;
  elsewhere.context = "\n  in validation_step of Net, step 7";
  const auto text = describe_hang({computing(0), computing(1), later, elsewhere}, on_one_host(4), 100);
  for (const auto* part :
       {"ranks 0-1 on node1: fit, step 7", "rank 2 on node1: fit, step 8", "rank 3 on node1: fit, step 7", "in validation_step"})
    BOOST_TEST(contains(text, part), text);
}

BOOST_AUTO_TEST_CASE(missing_ranks_are_named_with_their_host) {
  auto ranks = on_one_host(3);
  ranks[1] = {"node2", "its process 17 is stopped (SIGSTOP)"};
  const auto text = describe_hang({waiting(0), std::nullopt, waiting(2)}, ranks, 60);
  BOOST_TEST(contains(text, "2 of 3 ranks answered"), text);
  BOOST_TEST(contains(text, "\n  rank 1 on node2 is missing: no answer; its process 17 is stopped (SIGSTOP)\n"), text);
  const auto many = describe_hang(Positions(100), on_one_host(100), 60);
  BOOST_TEST(contains(many, "rank 7 on node1 is missing"), many);
  BOOST_TEST(contains(many, "92 more are missing: ranks 8-99 on node1"), many);
}

BOOST_AUTO_TEST_CASE(the_report_is_short) {
  Positions positions;
  for (int rank = 0; rank < 1000; rank++) {
    auto position = computing(rank);
    position.step = rank;
    position.stack.clear();
    for (int line = 0; line < 30; line++) position.stack += "\n    function " + std::to_string(line);
    positions.emplace_back(std::move(position));
  }
  for (const size_t most : {20u, 40u, 60u}) {
    const auto text = describe_hang(positions, on_one_host(1000), most);
    BOOST_TEST(lines_in(text) <= static_cast<long>(most), text);
    BOOST_TEST(contains(text, " more groups of ranks"), text);
  }
  positions.resize(8);
  const auto eight = describe_hang(positions, on_one_host(8), 40);
  BOOST_TEST((lines_in(eight) <= 40 && contains(eight, "rank 7 on node1") && contains(eight, "function 0")), eight);
}

BOOST_AUTO_TEST_CASE(a_thread_in_the_kernel) {
  auto position = computing(0);
  position.answered = false;
  position.context.clear();
  position.stack.clear();
  BOOST_TEST(contains(describe_hang({position}, on_one_host(1), 60), "its thread does not answer"));
}

BOOST_AUTO_TEST_SUITE_END()
