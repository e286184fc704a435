#include "levin/cluster/watchdog.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>

#include "folder_of_ranks.h"
#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/comm/topology.h"
#include "levin/core/trace_context.h"

using levin::Communicator;
using levin::FlightRecord;
using levin::Seconds;
using levin::Topology;
using levin::Watchdog;
using levin::test::FolderOfRanks;
using levin::test::runtime;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(cluster_watchdog)

namespace {

// A watchdog that reports to the test instead of ending the job.
class Observed {
 public:
  Observed(Communicator& communicator, double timeout, const std::filesystem::path& folder)
      : communicator_(communicator), topology_(Topology::discover(runtime())) {
    sigaction(SIGALRM, nullptr, &alarm_before_);
    dog_.emplace(levin::WatchdogOptions{.hang_timeout = Seconds{timeout},
                                        .folder = folder,
                                        .describe_stack =
                                            [](std::span<const uintptr_t> addresses) {
                                              return "\n    " + std::string(addresses.empty() ? "no" : "a") + " stack";
                                            },
                                        .end_job =
                                            [this](const std::string& message) {
                                              const std::lock_guard lock(mutex_);
                                              if (communicator_.node()->abort(message)) report_ = message;
                                            }},
                 communicator, topology_);
  }
  ~Observed() {
    dog_.reset();
    alarm(0);  // which would end the process
    sigaction(SIGALRM, &alarm_before_, nullptr);
  }
  Observed(const Observed&) = delete;
  Observed& operator=(const Observed&) = delete;

  FlightRecord& flight() { return communicator_.node()->flight(); }
  bool ended() const { return communicator_.node()->aborted(); }
  bool ends_within(std::chrono::milliseconds time) const {
    for (const auto end = std::chrono::steady_clock::now() + time; std::chrono::steady_clock::now() < end && !ended();)
      std::this_thread::sleep_for(10ms);
    return ended();
  }
  std::string report() {
    const std::lock_guard lock(mutex_);
    return report_;
  }

 private:
  Communicator& communicator_;
  Topology topology_;
  std::mutex mutex_;
  std::string report_;
  struct sigaction alarm_before_ {};
  std::optional<Watchdog> dog_;
};

std::string text_of(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

bool mentions(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

BOOST_AUTO_TEST_CASE(ranks_that_hang_report_together) {
  const FolderOfRanks folder;
  const auto communicator = Communicator::create_cpu(runtime());
  const int ranks = communicator->size();
  Observed observed(*communicator, 1, folder.path);
  observed.flight().advance();
  observed.flight().set_step(17);
  const FlightRecord::Phase phase(observed.flight(), "fit");
  levin::call_hook("training_step", [&] { BOOST_TEST(observed.ends_within(40s)); });
  if (communicator->rank() == 0) {  // all answer, so that the first one reports
    const auto text = observed.report();
    BOOST_TEST(mentions(text, fmt::format("{0} of {0} ranks answered", ranks)), text);
    BOOST_TEST(mentions(text, ranks == 1 ? "rank 0 on " : fmt::format("ranks 0-{} on ", ranks - 1)), text);
    BOOST_TEST(mentions(text, ": fit, step 17, in no collective\n    in training_step\n"), text);
    BOOST_TEST(mentions(text, "      a stack"), text);
    BOOST_TEST(mentions(text, "the whole report: " + (folder.path / "hang.txt").string()), text);
    BOOST_TEST(mentions(text_of(folder.path / "hang.txt"), "in training_step"));
  } else {
    BOOST_TEST(observed.report() == "");
  }
  MPI_Barrier(runtime().communicator());
  BOOST_TEST(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);
}

// Rank 0 is in a collective that the last rank does not enter: its number and label are reported.
BOOST_AUTO_TEST_CASE(collectives_are_named) {
  if (runtime().size() == 1) return;
  const FolderOfRanks folder;
  const auto communicator = Communicator::create_cpu(runtime());
  Observed observed(*communicator, 1, folder.path);
  observed.flight().advance();
  if (communicator->rank() + 1 < communicator->size())
    BOOST_CHECK_THROW(communicator->barrier("the end of the world"), levin::CommunicatorAborted);
  else
    BOOST_TEST(observed.ends_within(40s));
  if (communicator->rank() == 0) {
    BOOST_TEST(mentions(observed.report(), "in barrier number "), observed.report());
    BOOST_TEST(mentions(observed.report(), " for the end of the world"), observed.report());
  }
}

BOOST_AUTO_TEST_CASE(progress_and_unbounded_phases_are_no_hangs) {
  const FolderOfRanks folder;
  const auto communicator = Communicator::create_cpu(runtime());
  Observed observed(*communicator, 1, folder.path);
  for (int batch = 0; batch < 15; batch++) {
    observed.flight().advance();
    std::this_thread::sleep_for(100ms);
  }
  BOOST_TEST(!observed.ended());
  const FlightRecord::Phase phase(observed.flight(), "prepare_data", /*unbounded=*/true);
  BOOST_TEST(!observed.ends_within(1500ms));
  MPI_Barrier(runtime().communicator());
  BOOST_TEST(std::filesystem::is_empty(folder.path));
}

BOOST_AUTO_TEST_CASE(without_a_timeout_only_processes_are_watched) {
  const auto communicator = Communicator::create_cpu(runtime());
  Observed observed(*communicator, 0, {});
  observed.flight().advance();
  BOOST_TEST(!observed.ends_within(500ms));
}

BOOST_AUTO_TEST_SUITE_END()
