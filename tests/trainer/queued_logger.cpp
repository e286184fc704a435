#include "../../src/trainer/queued_logger.h"

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "levin/core/error.h"
#include "levin/loggers/csv_logger.h"
#include "levin_test.h"
#include "toy.h"

using namespace levin::test;
using levin::QueuedLogger;

BOOST_AUTO_TEST_SUITE(trainer_queued_logger)

namespace {

// Waits in every call until it is opened.
struct ClosedLogger : levin::Logger {
  void log_metrics(const levin::NamedValues&, int64_t, int64_t step) override {
    std::unique_lock lock(mutex);
    opened.wait(lock, [&] { return open; });
    steps.push_back(step);
  }
  levin::StateDict state_dict() override {
    levin::StateDict state;
    state.set("steps", steps.size());
    return state;
  }
  void unlock() {
    const std::lock_guard lock(mutex);
    open = true;
    opened.notify_all();
  }
  std::mutex mutex;
  std::condition_variable opened;
  bool open = false;
  std::vector<int64_t> steps;
};

struct BrokenLogger : levin::Logger {
  void log_metrics(const levin::NamedValues&, int64_t, int64_t) override {
    calls++;
    throw levin::IoError("the server is gone", "", "loggers");
  }
  levin::StateDict state_dict() override { throw levin::IoError("the disk is full", "", "loggers"); }
  void finalize() override { throw 3; }
  std::atomic<int> calls = 0;
};

}  // namespace

BOOST_AUTO_TEST_CASE(calls_return_at_once_and_keep_their_order) {
  const auto closed = std::make_shared<ClosedLogger>();
  QueuedLogger queue(closed, {});
  for (int64_t step = 0; step < 100; step++) queue.log_metrics({{"loss", 1}}, 0, step);
  BOOST_TEST(closed->steps.empty());  // else this line is not reached
  closed->unlock();
  BOOST_TEST(queue.state_dict().get<int64_t>("steps") == 100);
  for (int64_t step = 0; step < 100; step++) BOOST_TEST(closed->steps[step] == step);
}

BOOST_AUTO_TEST_CASE(calls_that_hold_too_much_are_dropped) {
  const auto closed = std::make_shared<ClosedLogger>();
  QueuedLogger queue(closed, {});
  std::vector<int> made;
  const auto post = [&](int number, int64_t mebibytes) { queue.post([&made, number] { made.push_back(number); }, mebibytes << 20); };
  queue.log_metrics({{"loss", 1}}, 0, 0);
  post(0, 100);  // alone one may be larger than the limit
  post(1, 1);
  queue.log_metrics({{"loss", 1}}, 0, 1);
  closed->unlock();
  queue.drain();
  post(2, 40);
  queue.drain();
  BOOST_TEST(made == (std::vector<int>{0, 2}), boost::test_tools::per_element());
  BOOST_TEST(closed->steps == (std::vector<int64_t>{0, 1}), boost::test_tools::per_element());
  queue.finalize();
}

BOOST_AUTO_TEST_CASE(errors_are_warnings) {
  const auto broken = std::make_shared<BrokenLogger>();
  QueuedLogger queue(broken, {});
  for (int64_t step = 0; step < 3; step++) queue.log_metrics({{"loss", 1}}, 0, step);
  BOOST_TEST(queue.state_dict().empty());
  BOOST_TEST(broken->calls == 3);
  queue.finalize();
}

BOOST_AUTO_TEST_CASE(a_training_with_a_broken_logger_is_the_same) {
  ToyData data;
  std::vector<double> losses;
  for (const bool with : {false, true}) {
    levin::Trainer trainer({.max_epochs = 2, .log_every_n_steps = 1}, runtime(), 5);
    const auto memory = std::make_shared<MemoryLogger>();
    const auto broken = std::make_shared<BrokenLogger>();
    trainer.add_logger(memory);
    if (with) trainer.add_logger(broken);
    const auto module = trainer.build<Toy>();
    trainer.fit(*module, data);
    trainer.finalize_loggers();
    if (runtime().rank() != 0) continue;
    BOOST_TEST((broken->calls > 0) == with);
    std::vector<double> found;
    for (const auto& row : memory->rows)
      for (const auto& [name, value] : row.values) found.push_back(value);
    BOOST_TEST(!found.empty());
    if (with) BOOST_TEST(found == losses, boost::test_tools::per_element());
    losses = found;
  }
}

BOOST_AUTO_TEST_SUITE_END()
