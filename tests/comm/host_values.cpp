#include "levin/comm/host_values.h"

#include <ATen/ops/zeros.h>

#include <numeric>

#include "levin_test.h"
#include "mpi_calls.h"

using levin::Communicator;
using levin::test::check_throws;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(comm_host_values)

namespace {

std::unique_ptr<Communicator> make_communicator() { return Communicator::create_cpu(runtime()); }

struct Pair {
  double value;
  int rank;
};

/// Words and exit code of the error that `call` throws.
template <class Call>
std::pair<std::string, levin::ExitCode> error_of(const Call& call) {
  try {
    call();
  } catch (const levin::Error& error) {
    return {error.what(), error.exit_code()};
  }
  return {"nothing was thrown", levin::ExitCode::finished};
}

}  // namespace

BOOST_AUTO_TEST_CASE(sums_and_extremes) {
  const auto comm = make_communicator();
  const int size = comm->size(), rank = comm->rank();
  BOOST_TEST(levin::all_sum(*comm, rank + 1.5) == size * (size - 1) / 2 + 1.5 * size);
  BOOST_TEST(levin::all_sum(*comm, int64_t{1} << 40) == (int64_t{1} << 40) * size);
  BOOST_TEST(levin::all_max(*comm, rank) == size - 1);
  BOOST_TEST(levin::all_min(*comm, 10.0f - static_cast<float>(rank)) == 11.0f - static_cast<float>(size));
  const auto sums = levin::all_sum(*comm, std::vector<int64_t>{1, rank, -rank});
  BOOST_TEST((sums == std::vector<int64_t>{size, size * (size - 1) / 2, -size * (size - 1) / 2}));
  BOOST_TEST(levin::all_sum(*comm, std::vector<double>()).empty());
  levin::Communicator* nobody = nullptr;
  BOOST_TEST(levin::all_sum(nobody, 3) == 3);
}

BOOST_AUTO_TEST_CASE(texts_and_values_of_any_root) {
  const auto comm = make_communicator();
  for (int root = 0; root < comm->size(); root++) {
    const bool mine = comm->rank() == root;
    const std::string text = fmt::format("{} of {}", std::string(static_cast<size_t>(20000 * root), 'x'), root);
    BOOST_TEST(levin::broadcast_text(*comm, mine ? text : std::string(static_cast<size_t>(comm->rank()), '?'), root) == text);
    BOOST_TEST(levin::broadcast_text(*comm, mine ? "" : "another", root).empty());
    const std::string with_zero("a\0b\nc", 5);
    BOOST_TEST(levin::broadcast_text(*comm, mine ? with_zero : "", root) == with_zero);
    BOOST_TEST(levin::broadcast_value(*comm, mine ? Pair{0.5, root} : Pair{}, root).rank == root);
    BOOST_TEST((levin::broadcast_values(*comm, mine ? std::vector<int64_t>{1, 2, 3} : std::vector<int64_t>(), root) ==
                std::vector<int64_t>{1, 2, 3}));
  }
}

BOOST_AUTO_TEST_CASE(values_of_different_numbers) {
  const auto comm = make_communicator();
  const int rank = comm->rank(), size = comm->size();
  for (const int scale : {0, 1, 3000}) {
    std::vector<int64_t> mine(static_cast<size_t>(rank * scale)), counts;
    std::iota(mine.begin(), mine.end(), 1000 * rank);
    const auto all = levin::all_gather_values(*comm, mine, &counts);
    size_t index = 0;
    for (int other = 0; other < size; other++) {
      BOOST_REQUIRE_EQUAL(counts[static_cast<size_t>(other)], other * scale);
      for (int i = 0; i < other * scale; i++) BOOST_REQUIRE_EQUAL(all[index++], 1000 * other + i);
    }
    BOOST_TEST(all.size() == index);
  }
  const auto pairs = levin::all_gather_value(*comm, Pair{0.5 * rank, rank});
  BOOST_REQUIRE_EQUAL(pairs.size(), static_cast<size_t>(size));
  for (int i = 0; i < size; i++) BOOST_TEST((pairs[static_cast<size_t>(i)].rank == i && pairs[static_cast<size_t>(i)].value == 0.5 * i));
}

BOOST_AUTO_TEST_CASE(an_error_of_one_rank_is_the_same_error_on_all) {
  const auto comm = make_communicator();
  for (int bad = 0; bad < comm->size(); bad++)
    for (const bool by_mpi : {false, true}) {
      const auto check = [&](auto fn, levin::ExitCode code, const std::string& begin, const std::string& end) {
        const auto run = [&] { by_mpi ? levin::on_all_ranks(runtime().communicator(), fn) : levin::on_all_ranks(*comm, fn); };
        const auto [text, got] = error_of(run);
        BOOST_TEST((got == code));
        const std::string prefix = comm->size() > 1 ? fmt::format("{} rank {} (", begin, bad) : begin;
        BOOST_CHECK_MESSAGE(text.starts_with(prefix) && text.ends_with(end), text);
      };
      const bool fails = comm->rank() >= bad;  // the lowest is named
      const auto shown = std::to_string(bad);
      check(
          [&] {
            if (fails) throw levin::IoError(fmt::format("disk {} is full", comm->rank()), "free; some", "logs");
          },
          levin::ExitCode::io_failed, "[logs]", comm->size() > 1 ? fmt::format("): disk {} is full; free; some", shown) : "free; some");
      check(
          [&] {
            if (fails) throw levin::DataError(fmt::format("sample {}", comm->rank()));
          },
          levin::ExitCode::bad_data, "[data]", "sample " + shown);
      check(
          [&] {
            if (fails) throw levin::ConfigError(std::string(100000, 'x') + std::to_string(comm->rank()));
          },
          levin::ExitCode::bad_config, "[config]", "x" + shown);
      check(
          [&] {
            if (fails) throw levin::Error(levin::ExitCode::stopped_for_good, "job", "it ended " + std::to_string(comm->rank()));
          },
          levin::ExitCode::stopped_for_good, "[job]", "it ended " + shown);
    }
}

BOOST_AUTO_TEST_CASE(other_exceptions_get_a_component) {
  const auto comm = make_communicator();
  if (comm->size() == 1) return;  // it keeps its class
  const int last = comm->size() - 1;
  const auto fails = [&] {
    if (comm->rank() == last) throw std::runtime_error("odd");
  };
  check_throws<levin::UsageError>([&] { levin::on_all_ranks(*comm, "data", fails); }, {fmt::format("[data] rank {} (", last), "): odd"});
}

BOOST_AUTO_TEST_CASE(a_result_comes_back) {
  const auto comm = make_communicator();
  BOOST_TEST(*levin::on_all_ranks(*comm, [&] { return std::make_unique<int>(comm->rank()); }) == comm->rank());
  levin::Communicator* nobody = nullptr;
  BOOST_TEST(levin::on_all_ranks(nobody, [] { return 7; }) == 7);
  check_throws<std::runtime_error>([&] { levin::on_all_ranks(nobody, []() -> int { throw std::runtime_error("alone"); }); }, {"alone"});
}

BOOST_AUTO_TEST_CASE(an_abort_passes) {
  const auto comm = make_communicator();
  if (comm->size() == 1) return;  // alone, no call waits
  MPI_Barrier(runtime().communicator());
  if (comm->rank() == 0) comm->abort("enough");
  check_throws<levin::CommunicatorAborted>(
      [&] {
        for (;;) levin::on_all_ranks(*comm, [] {});
      },
      {"rank 0", "enough"});
  check_throws<levin::CommunicatorAborted>([&] { levin::on_all_ranks(*comm, [&] { throw levin::CommunicatorAborted(0, "enough"); }); },
                                           {"rank 0 ended the job: enough"});
}

BOOST_AUTO_TEST_SUITE_END()
