#include "../../src/cluster/command.h"

#include <csignal>

#include "levin_test.h"

using levin::detail::run_command;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(cluster_command)

BOOST_AUTO_TEST_CASE(output_and_status) {
  const auto good = run_command({"sh", "-c", "echo out; echo err >&2; read line || echo closed"}, 10s);
  BOOST_TEST(good.good());
  BOOST_TEST(good.out == "out\nclosed\n");
  BOOST_TEST(good.err == "err\n");
  const auto bad = run_command({"sh", "-c", "echo first >&2; echo second >&2; exit 3"}, 10s);
  BOOST_TEST((bad.started && bad.in_time && !bad.good()));
  BOOST_TEST(bad.failure() == "exit status 3: first");
  BOOST_TEST(run_command({"sh", "-c", "kill -9 $$"}, 10s).status == 137);
}

BOOST_AUTO_TEST_CASE(a_missing_program) {
  const auto missing = run_command({"levin-has-no-such-program"}, 10s);
  BOOST_TEST(!missing.started);
  BOOST_TEST(missing.failure() == "not found");
  BOOST_TEST(!run_command({}, 10s).good());
}

BOOST_AUTO_TEST_CASE(nothing_is_waited_for_longer_than_the_limit) {
  const auto began = std::chrono::steady_clock::now();
  const auto slow = run_command({"sh", "-c", "echo partly; sleep 60 & sleep 60"}, 200ms);
  BOOST_TEST((!slow.good() && !slow.in_time));
  BOOST_TEST(slow.out == "partly\n");
  BOOST_TEST(slow.failure() == "no answer in 0.2 s");
  std::stop_source stop;
  stop.request_stop();
  BOOST_TEST(!run_command({"sleep", "60"}, 60s, stop.get_token()).in_time);
  BOOST_TEST(run_command({"sh", "-c", "exec >&- 2>&-; sleep 0.1"}, 20s).good());  // it closes its output and ends later
  BOOST_TEST((std::chrono::steady_clock::now() - began < 20s));
}

BOOST_AUTO_TEST_CASE(much_output_is_read) {
  const auto much = run_command({"sh", "-c", "head -c 6000000 /dev/zero"}, 20s);
  BOOST_TEST(much.good());
  BOOST_TEST(much.out.size() == size_t{4} << 20);
}

BOOST_AUTO_TEST_CASE(signals_have_their_default_actions) {
  const auto before = std::signal(SIGTERM, SIG_IGN);
  const auto ended = run_command({"sh", "-c", "kill -TERM $$; exit 0"}, 10s);
  std::signal(SIGTERM, before);
  BOOST_TEST(ended.status == 128 + SIGTERM);
}

BOOST_AUTO_TEST_SUITE_END()
