// What the profilers make of a small training.
#include <fmt/format.h>
#include <stdlib.h>
#include <torch/csrc/profiler/stubs/base.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <thread>

#include "../trainer/toy.h"
#include "folder_of_ranks.h"
#include "levin/comm/topology.h"
#include "levin/core/error.h"
#include "levin/core/profile_range.h"
#include "levin/profilers/nvtx_profiler.h"
#include "levin/profilers/pytorch_profiler.h"
#include "levin/profilers/simple_profiler.h"
#include "levin_test.h"

using namespace levin::test;
using namespace std::chrono_literals;
using levin::TrainerConfig;

BOOST_AUTO_TEST_SUITE(profilers_profilers)

namespace {

/// Its steps mark a range, which takes longer on higher ranks.
struct MarkedToy : Toy {
  MarkedToy() {
    in_step = [] {
      const levin::ProfileRange range("tokenize");
      std::this_thread::sleep_for(2ms * (1 + runtime().rank()));
    };
  }
};

constexpr int64_t steps = 5;  // 40 samples in steps of 8

template <class P>
std::shared_ptr<P> fit_with(std::shared_ptr<P> profiler, const std::filesystem::path& folder, TrainerConfig config = {.max_epochs = 1}) {
  ToyData data;
  levin::Trainer trainer(config, runtime(), 5);
  trainer.set_default_root_dir(folder);
  trainer.add_profiler(profiler);
  const auto model = trainer.build<MarkedToy>();
  trainer.fit(*model, data);
  return profiler;
}

std::map<std::string, levin::RangeTimes> by_name(const levin::SimpleProfiler& profiler) {
  std::map<std::string, levin::RangeTimes> found;
  for (const auto& range : profiler.times()) found[range.name] = range;
  return found;
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

// Then a range is one comparison: nothing observes the training, and no time is taken.
BOOST_AUTO_TEST_CASE(without_a_profiler_nothing_observes_a_training) {
  for (const bool with : {false, true}) {
    ToyData data;
    levin::Trainer trainer({.max_epochs = 1}, runtime(), 5);
    if (with) trainer.add_profiler(std::make_shared<levin::SimpleProfiler>());
    const auto model = trainer.build<Toy>();
    int observed = 0;
    model->in_step = [&] { observed += levin::ObservedThread::current() != nullptr; };
    trainer.fit(*model, data);
    BOOST_TEST(observed == (with ? steps : 0));
  }
  constexpr int ranges = 10'000;
  auto least = std::chrono::nanoseconds::max();  // of several rounds: other load on the machine counts little
  for (int round = 0; round < 20; round++) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < ranges; i++) {
      const levin::ProfileRange range("tokenize");
    }
    least = std::min<std::chrono::nanoseconds>(least, std::chrono::steady_clock::now() - begin);
  }
  BOOST_TEST(static_cast<double>(least.count()) / ranges < 100.0);
}

BOOST_AUTO_TEST_CASE(the_simple_profiler_counts_and_times_hooks_phases_and_ranges) {
  const FolderOfRanks folder;
  const auto profiler = fit_with(std::make_shared<levin::SimpleProfiler>(), folder.path);
  const auto ranges = by_name(*profiler);
  for (const char* name : {"MarkedToy.training_step", "MarkedToy.backward", "MarkedToy.optimizer_step", "MarkedToy.on_train_batch_end",
                           "tokenize", "reduce"}) {
    BOOST_REQUIRE_MESSAGE(ranges.contains(name), name << " is missing");
    BOOST_TEST(ranges.at(name).calls == steps, name);
  }
  BOOST_TEST(ranges.at("fit").calls == 1);
  BOOST_TEST(ranges.at("reading the next training batch").calls >= steps);
  const double marked = ranges.at("tokenize").seconds, step = ranges.at("MarkedToy.training_step").seconds;
  BOOST_TEST(marked >= 0.002 * steps * (1 + runtime().rank()));
  BOOST_TEST(step >= marked);
  BOOST_TEST(ranges.at("fit").seconds >= step + ranges.at("MarkedToy.backward").seconds);
  const bool collectives = std::any_of(ranges.begin(), ranges.end(), [](const auto& range) {
    return range.first.starts_with("exchange") || range.first.starts_with("all_");
  });
  BOOST_TEST((collectives || runtime().size() == 1));
}

BOOST_AUTO_TEST_CASE(the_table_has_the_least_and_the_most_of_the_ranks) {
  const FolderOfRanks folder;
  const auto profiler = fit_with(std::make_shared<levin::SimpleProfiler>(levin::SimpleProfilerConfig{.filename = "table"}), folder.path);
  if (runtime().rank() > 0) {
    BOOST_TEST(profiler->table().empty());
    return;
  }
  BOOST_TEST(text_of(folder.path / "fit-table.txt") == profiler->table() + "\n");
  std::istringstream lines(profiler->table());
  bool found = false;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream cells(line);
    std::vector<std::string> row;
    for (std::string cell; std::getline(cells, cell, '|');) row.push_back(cell);
    if (row.size() != 7 || row[0].substr(0, row[0].find(' ')) != "tokenize") continue;
    found = true;
    const double total = std::stod(row[3]), percent = std::stod(row[4]), least = std::stod(row[5]), most = std::stod(row[6]);
    BOOST_TEST(std::stol(row[1]) == steps);
    BOOST_TEST(std::stod(row[2]) * steps == total, boost::test_tools::tolerance(1e-2));
    BOOST_TEST((percent > 0 && percent < 100));
    BOOST_TEST((least <= total && total <= most));
    BOOST_TEST(most >= 0.002 * steps * runtime().size());
    BOOST_TEST((runtime().size() == 1 || least < most));
  }
  BOOST_TEST(found);
}

// A profiler belongs to one run after the other.
BOOST_AUTO_TEST_CASE(an_evaluation_has_its_own_profile) {
  const FolderOfRanks folder;
  ToyData data;
  levin::Trainer trainer({.max_epochs = 1}, runtime(), 5);
  trainer.set_default_root_dir(folder.path);
  const auto profiler = std::make_shared<levin::SimpleProfiler>();
  trainer.add_profiler(profiler);
  const auto model = trainer.build<MarkedToy>();
  trainer.fit(*model, data);
  trainer.test(*model, data);
  const auto ranges = by_name(*profiler);
  BOOST_TEST(ranges.contains("MarkedToy.test_step"));
  BOOST_TEST(!ranges.contains("MarkedToy.training_step"));
  if (runtime().rank() == 0)
    for (const char* name : {"fit-profile.txt", "test-profile.txt"}) BOOST_TEST(std::filesystem::exists(folder.path / name), name);
}

BOOST_AUTO_TEST_CASE(a_failed_training_leaves_a_profiler_usable) {
  const auto profiler = std::make_shared<levin::SimpleProfiler>();
  if (runtime().size() == 1) {
    ToyData data;
    levin::Trainer trainer({.max_epochs = 1}, runtime(), 5);
    trainer.add_profiler(profiler);
    const auto model = trainer.build<MarkedToy>();
    model->fail_at_step = 2;
    BOOST_CHECK_THROW(trainer.fit(*model, data), std::runtime_error);
  }
  fit_with(profiler, {});
  BOOST_TEST(by_name(*profiler).at("tokenize").calls == steps);
}

// A trace of two steps of every rank: valid JSON, a process a rank, on one time line, ranges inside of each other.
BOOST_AUTO_TEST_CASE(a_trace_has_all_ranks) {
  const FolderOfRanks folder;
  const auto profiler =
      fit_with(std::make_shared<levin::PyTorchProfiler>(levin::PyTorchProfilerConfig{.wait = 1, .warmup = 1, .active = 2}), folder.path);
  const bool several_hosts = levin::Topology::discover(runtime()).hosts() > 1;
  if (runtime().rank() > 0) return;
  BOOST_REQUIRE(profiler->traces().size() == 1);
  BOOST_TEST(profiler->traces()[0] == folder.path / "fit-trace.pt.trace.json");
  const auto trace = nlohmann::json::parse(text_of(profiler->traces()[0]));
  struct Span {
    double begin, end;
  };
  std::map<int, std::map<std::string, std::vector<Span>>> ranges;  // by rank
  std::set<std::string> process_names;
  std::map<int, std::set<int64_t>> threads;  // with ranges, by rank
  bool operators = false;
  for (const auto& event : trace["traceEvents"]) {
    if (event.value("name", "") == "process_name") process_names.insert(event["args"]["name"].get<std::string>().substr(0, 6));
    operators = operators || event.value("name", "") == "aten::mse_loss";
    if (event.value("cat", "") != "user_annotation") continue;
    threads[event["pid"].get<int>()].insert(event["tid"].get<int64_t>());
    const double begin = event["ts"].get<double>();
    ranges[event["pid"].get<int>()][event["name"].get<std::string>()].push_back({begin, begin + event["dur"].get<double>()});
  }
  BOOST_TEST(operators);
  BOOST_TEST(threads[0].size() == (several_hosts ? 2U : 1U));  // a communication thread
  BOOST_TEST(ranges.size() == static_cast<size_t>(runtime().size()));
  BOOST_TEST(process_names.size() == static_cast<size_t>(runtime().size()));
  for (auto& [rank, names] : ranges) {
    for (const char* name : {"MarkedToy.training_step", "MarkedToy.backward", "MarkedToy.optimizer_step", "tokenize"})
      BOOST_TEST(names[name].size() == 2, name << " on rank " << rank);
    BOOST_TEST(names.contains("ProfilerStep#2"));
    BOOST_TEST(!names.contains("ProfilerStep#1"));
    for (const auto& inner : names["tokenize"])
      BOOST_TEST(std::any_of(names["MarkedToy.training_step"].begin(), names["MarkedToy.training_step"].end(),
                             [&](const Span& outer) { return outer.begin <= inner.begin && inner.end <= outer.end; }));
    // The same step of all ranks at the same time: each waits for the others at its end.
    const auto &mine = names["ProfilerStep#2"].front(), &of_rank_0 = ranges[0]["ProfilerStep#2"].front();
    BOOST_TEST((mine.begin < of_rank_0.end && of_rank_0.begin < mine.end));
  }
}

BOOST_AUTO_TEST_CASE(every_cycle_makes_a_trace_of_the_first_ranks) {
  const FolderOfRanks folder;
  const levin::PyTorchProfilerConfig config{.filename = "steps", .wait = 0, .warmup = 1, .active = 1, .repeat = 2, .max_ranks = 2};
  const auto profiler = fit_with(std::make_shared<levin::PyTorchProfiler>(config), folder.path);
  if (runtime().rank() > 0) return;
  BOOST_REQUIRE(profiler->traces().size() == 2);
  BOOST_TEST(profiler->traces()[1] == folder.path / "fit-steps-2.pt.trace.json");
  for (const auto& path : profiler->traces()) {
    std::set<int> ranks;
    const auto trace = nlohmann::json::parse(text_of(path));
    for (const auto& event : trace["traceEvents"])
      if (event.value("cat", "") == "cpu_op") ranks.insert(event["pid"].get<int>());
    BOOST_TEST(ranks.size() == static_cast<size_t>(std::min(2, runtime().size())));
  }
}

BOOST_AUTO_TEST_CASE(a_run_that_ends_before_the_first_recorded_step_has_no_trace) {
  const FolderOfRanks folder;
  const auto profiler = fit_with(std::make_shared<levin::PyTorchProfiler>(levin::PyTorchProfilerConfig{.skip_first = 100}), folder.path);
  BOOST_TEST(profiler->traces().empty());
}

// Kineto frees what it has recorded. Threads of data loaders, say, go on.
BOOST_AUTO_TEST_CASE(other_threads_compute_while_a_recording_ends) {
  if (runtime().size() > 1) return;  // two threads that never wait
  const FolderOfRanks folder;
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; i++)
    threads.emplace_back([&] {
      const at::Tensor ones = at::ones({4});
      while (!stop) at::add(ones, ones);
    });
  const auto profiler =
      fit_with(std::make_shared<levin::PyTorchProfiler>(levin::PyTorchProfilerConfig{.wait = 0, .warmup = 0, .active = 1, .repeat = 0}),
               folder.path, {.max_epochs = 4});
  stop = true;
  for (auto& thread : threads) thread.join();
  BOOST_TEST(profiler->traces().size() == 4U * steps);
}

// Neither a wrong TMPDIR nor a trace that cannot be written ends a training.
BOOST_AUTO_TEST_CASE(a_trace_takes_no_training_down) {
  class TemporaryFolder {
   public:
    explicit TemporaryFolder(const std::filesystem::path& folder) {
      if (const char* before = std::getenv("TMPDIR")) before_ = before;
      setenv("TMPDIR", folder.c_str(), /*overwrite=*/1);
    }
    ~TemporaryFolder() { before_ ? setenv("TMPDIR", before_->c_str(), 1) : unsetenv("TMPDIR"); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

   private:
    std::optional<std::string> before_;
  };
  const FolderOfRanks folder, parts;
  const auto traced = [&] {
    return fit_with(std::make_shared<levin::PyTorchProfiler>(levin::PyTorchProfilerConfig{.wait = 0, .warmup = 1, .active = 1}),
                    folder.path)
        ->traces();
  };
  {
    const TemporaryFolder missing(folder.path / "missing");
    BOOST_TEST(traced().size() == (runtime().rank() == 0 ? 1U : 0U));
  }
  // A folder where the part of each rank would be.
  const TemporaryFolder blocked(parts.path);
  std::filesystem::create_directories(parts.path / fmt::format("levin-trace-{}-{}-0.json", runtime().rank(), getpid()) / "occupied");
  BOOST_TEST(traced().empty());
}

BOOST_AUTO_TEST_CASE(nvtx_ranges_are_those_of_the_run) {
  struct Stubs : torch::profiler::impl::ProfilerStubs {
    void record(c10::DeviceIndex*, torch::profiler::impl::ProfilerVoidEventStub*, int64_t*) const override {}
    float elapsed(const torch::profiler::impl::ProfilerVoidEventStub*, const torch::profiler::impl::ProfilerVoidEventStub*) const override {
      return 0;
    }
    void mark(const char*) const override {}
    // A communication thread has ranges, too.
    void rangePush(const char* name) const override {
      const std::lock_guard lock(mutex);
      open[std::this_thread::get_id()]++;
      all.insert(name);
    }
    void rangePop() const override {
      const std::lock_guard lock(mutex);
      closed_too_often = closed_too_often || open[std::this_thread::get_id()]-- == 0;
    }
    bool enabled() const override { return available; }
    void onEachDevice(std::function<void(int)>) const override {}
    void synchronize() const override {}
    mutable std::mutex mutex;
    mutable std::map<std::thread::id, int> open;
    mutable std::set<std::string> all;
    mutable bool closed_too_often = false;
    bool available = false;
  };
  static Stubs stubs;
  torch::profiler::impl::registerCUDAMethods(&stubs);
  if (runtime().size() == 1)
    check_throws<levin::ConfigError>([] { fit_with(std::make_shared<levin::NVTXProfiler>(), {}); }, {"the nvtx profiler needs CUDA"});
  stubs.available = true;
  fit_with(std::make_shared<levin::NVTXProfiler>(), {});
  const std::lock_guard lock(stubs.mutex);
  BOOST_TEST(stubs.open[std::this_thread::get_id()] == 0);
  BOOST_TEST(!stubs.closed_too_often);
  for (const char* name : {"fit", "MarkedToy.training_step", "tokenize"}) BOOST_TEST(stubs.all.contains(name), name);
  stubs.available = false;
}

BOOST_AUTO_TEST_SUITE_END()
