// What the loops write into the flight record, and what they make of the ranks' step times.
#include "levin/comm/flight_record.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <thread>

#include "captured_stderr.h"
#include "levin/core/log.h"
#include "levin_test.h"
#include "toy.h"

using levin::FlightRecord;
using levin::test::runtime;
using levin::test::Toy;
using levin::test::ToyData;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(trainer_flight_record)

namespace {

struct ObservedData : ToyData {
  void prepare_data() override { note(); }
  void setup(levin::Stage) override { note(); }
  void note() { phases.push_back(std::string(flight->phase()) + (flight->unbounded() ? ", unbounded" : "")); }
  FlightRecord* flight = nullptr;
  std::vector<std::string> phases;
};

struct ObservedToy : Toy {
  void validation_step(const levin::Batch& batch) override {
    phases.insert(flight->phase());
    Toy::validation_step(batch);
  }
  void on_train_batch_start(const levin::Batch&, int64_t) override {
    phases.insert(flight->phase());
    steps.push_back(flight->step());
    progress.push_back(flight->progress());
  }
  FlightRecord* flight = nullptr;
  std::set<std::string> phases;
  std::vector<int64_t> steps;
  std::vector<uint64_t> progress;
};

// The log of rank 0 in a training whose last rank takes longer for a step by this, and whose step times are compared in every step.
std::string log_with_slow_rank(std::chrono::milliseconds more, bool compares) {
  levin::MpiRuntime noisy(runtime().communicator());
  noisy.set_log(levin::Log::to_stderr(noisy.rank(), levin::LogLevel::warning));
  const levin::test::CapturedStderr captured;
  levin::Trainer trainer({.max_epochs = 2, .num_sanity_val_steps = 0}, noisy);
  auto& session = trainer.session();
  if (compares)
    session.add_stop_source([&session]() -> std::optional<levin::StopReason> {
      if (session.rank() == 0) session.request_step_times();
      return std::nullopt;
    });
  const auto module = trainer.build<Toy>();
  const bool last = noisy.rank() + 1 == noisy.size();
  module->in_step = [&] { std::this_thread::sleep_for(20ms + (last ? more : 0ms)); };
  ToyData data;
  trainer.fit(*module, data);
  BOOST_TEST(trainer.global_step() == 10);
  return captured.text();
}

long count_of(const std::string& part, const std::string& text) {
  long count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) count++;
  return count;
}

}  // namespace

BOOST_AUTO_TEST_CASE(phases_steps_and_progress) {
  levin::Trainer trainer({.max_epochs = 1, .num_sanity_val_steps = 0}, runtime());
  auto& flight = trainer.session().flight();
  const auto module = trainer.build<ObservedToy>();
  ObservedData data;
  module->flight = data.flight = &flight;
  trainer.fit(*module, data);
  BOOST_TEST((module->steps == std::vector<int64_t>{0, 1, 2, 3, 4}));
  BOOST_TEST((module->progress == std::vector<uint64_t>{0, 1, 2, 3, 4}));
  BOOST_TEST(flight.progress() == 7u);  // and 2 batches of the validation
  BOOST_TEST(flight.step() == 5);
  BOOST_TEST((module->phases == std::set<std::string>{"fit", "validation"}));
  BOOST_TEST(data.phases.back() == "setup");
  if (runtime().rank() == 0) BOOST_TEST(data.phases.front() == "prepare_data, unbounded");
  BOOST_TEST((std::string(flight.phase()) == "start" && !flight.unbounded()));
  BOOST_TEST(flight.calls() == "");
}

// Rank 0 asks, and all ranks take part at the end of that step.
BOOST_AUTO_TEST_CASE(a_slow_rank_is_named_once) {
  const auto log = log_with_slow_rank(100ms, /*compares=*/true);
  const bool speaks = runtime().rank() == 0 && runtime().size() > 1;
  BOOST_TEST(count_of("slow ranks", log) == (speaks ? 1 : 0), log);
  if (speaks) BOOST_TEST(count_of(fmt::format("rank {} on ", runtime().size() - 1), log) == 1, log);
}

BOOST_AUTO_TEST_CASE(without_a_request_nothing_is_compared) {
  BOOST_TEST(count_of("slow ranks", log_with_slow_rank(60ms, /*compares=*/false)) == 0);
}

BOOST_AUTO_TEST_SUITE_END()
