// One program holds all tests; a suite runs on the ranks that its meson.build declares.
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <boost/test/results_collector.hpp>
#include <boost/test/tree/observer.hpp>
#include <iterator>
#include <memory>

#include "levin_test.h"

namespace levin::test {
namespace {

std::unique_ptr<MpiRuntime> started;

char current[200];  // the test case, for who waits too long for it

void print_current(int) {
  if (write(STDERR_FILENO, current, strlen(current)) < 0) _exit(143);
  _exit(143);
}

struct EndTogether : boost::unit_test::test_observer {
  void test_unit_start(const boost::unit_test::test_unit& unit) override {
    const std::string line = "ended in " + unit.full_name() + "\n";
    std::fill(std::copy_n(line.begin(), std::min(line.size(), sizeof(current) - 1), current), std::end(current), '\0');
  }
  // A rank whose test failed may have left its peers in a collective: end them at once.
  void test_unit_finish(const boost::unit_test::test_unit& unit, unsigned long) override {
    if (started && started->size() > 1 && !boost::unit_test::results_collector.results(unit.p_id).passed()) MPI_Abort(MPI_COMM_WORLD, 1);
  }
};

struct RunTogether {
  RunTogether() {
    boost::unit_test::framework::register_observer(observer);
    signal(SIGTERM, print_current);
  }
  ~RunTogether() {
    boost::unit_test::framework::deregister_observer(observer);
    started.reset();
  }
  EndTogether observer;
};

BOOST_TEST_GLOBAL_FIXTURE(RunTogether);

}  // namespace

MpiRuntime& runtime() {
  if (!started) started = std::make_unique<MpiRuntime>();
  return *started;
}

}  // namespace levin::test

int main(int argc, char** argv) {
  return boost::unit_test::unit_test_main(
      +[] { return true; }, argc, argv);
}
