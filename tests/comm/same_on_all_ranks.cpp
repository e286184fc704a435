#include "levin/comm/same_on_all_ranks.h"

#include "levin_test.h"

using levin::check_same_on_all_ranks;
using levin::ExitCode;
using levin::RankStatus;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(comm_same_on_all_ranks)

namespace {
const auto contains = [](const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; };
}

BOOST_AUTO_TEST_CASE(all_are_well_and_alike) {
  const auto result = check_same_on_all_ranks(runtime(), {ExitCode::finished, "", {{"program", "abc"}, {"configuration", "def"}}});
  BOOST_TEST(result.good());
  BOOST_TEST(result.rank == -1);
  BOOST_TEST(result.message == "");
}

BOOST_AUTO_TEST_CASE(the_first_bad_rank_is_heard) {
  const int last = runtime().size() - 1;
  for (int first_bad = 0; first_bad <= last; first_bad++) {
    RankStatus mine;
    if (runtime().rank() >= first_bad)
      mine = {ExitCode::io_failed, fmt::format("no file on rank {}{}", runtime().rank(), std::string(100000, '.')), {{"program", "x"}}};
    const auto result = check_same_on_all_ranks(runtime(), mine);
    BOOST_TEST((result.code == ExitCode::io_failed));
    BOOST_TEST(result.rank == first_bad);
    BOOST_TEST(contains(result.message, fmt::format("no file on rank {}.", first_bad)));
    BOOST_TEST(result.message.size() > 100000u);
  }
}

BOOST_AUTO_TEST_CASE(a_difference_names_ranks_and_values) {
  if (runtime().size() == 1) return;
  const bool differs = runtime().rank() >= 1;
  const auto result =
      check_same_on_all_ranks(runtime(), {ExitCode::finished, "", {{"program", "same"}, {"LibTorch", differs ? "2.12.0" : "2.11.0"}}});
  BOOST_TEST((result.code == ExitCode::bad_config));
  BOOST_TEST(result.rank == 1);
  const std::string ranks = runtime().size() == 2 ? "rank 1 differs" : fmt::format("ranks 1-{} differ", runtime().size() - 1);
  for (const std::string& part : {ranks, std::string("rank 0 has LibTorch 2.11.0, rank 1 has LibTorch 2.12.0")})
    BOOST_CHECK_MESSAGE(contains(result.message, part), result.message);
}

BOOST_AUTO_TEST_CASE(a_difference_names_hosts_and_the_lines_of_the_details) {
  if (runtime().size() == 1) return;
  const bool differs = runtime().rank() == 1;
  const auto status = [&](bool path_too) {
    return RankStatus{
        ExitCode::finished,
        "",
        {{"configuration", differs ? "12" : "34"}, {"program", differs && path_too ? "56" : "78"}},
        {{"configuration", differs ? "a 1\nb 3\nc 4\n" : "a 1\nb 2\nc 4\n"}, {"program", differs ? "/there/job" : "/here/job"}}};
  };
  const auto result = check_same_on_all_ranks(runtime(), status(true));
  for (const std::string& part :
       {std::string("rank 0 has configuration 34, rank 1 has configuration 12; rank 0 has program 78, rank 1 has program 56"),
        std::string("configuration: rank 0 has b 2, rank 1 has b 3"), std::string("program: rank 0 has /here/job, rank 1 has /there/job"),
        std::string("(rank 0 on "), std::string(", rank 1 on ")})
    BOOST_CHECK_MESSAGE(contains(result.message, part), result.message);
  // A file may have another path where its content is the same.
  BOOST_TEST(!contains(check_same_on_all_ranks(runtime(), status(false)).message, "/there/job"));
}

BOOST_AUTO_TEST_CASE(one_rank_has_more_values) {
  if (runtime().size() == 1) return;
  RankStatus mine{ExitCode::finished, "", {{"program", "same"}}};
  if (runtime().rank() == 1) mine.must_be_equal.emplace_back("plug-in", "cuda\n13");
  const auto result = check_same_on_all_ranks(runtime(), mine);
  BOOST_CHECK_MESSAGE(contains(result.message, "rank 0 has nothing, rank 1 has plug-in cuda 13"), result.message);
}

BOOST_AUTO_TEST_SUITE_END()
