#include "../../src/profilers/merged_trace.h"

#include <nlohmann/json.hpp>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::detail::placed_events;
using nlohmann::json;

BOOST_AUTO_TEST_SUITE(profilers_merged_trace)

namespace {

const char* const trace = R"json({"schemaVersion": 1, "baseTimeNanoseconds": 5000000, "traceEvents": [
  {"ph": "X", "cat": "cpu_op", "name": "aten::add", "pid": 4711, "tid": 4711, "ts": 10.5, "dur": 2, "args": {"External id": 3}},
  {"ph": "X", "cat": "kernel", "name": "add", "pid": 0, "tid": 7, "ts": 11, "dur": 1,
   "args": {"External id": 3, "correlation": 5}},
  {"ph": "X", "cat": "cuda_runtime", "name": "cudaGetDevice", "pid": 4711, "tid": 4711, "ts": 12, "dur": 1,
   "args": {"External id": 0, "correlation": 6}},
  {"ph": "s", "id": 3, "pid": 4711, "tid": 4711, "ts": 10, "cat": "ac2g", "name": "ac2g"},
  {"ph": "X", "cat": "Trace", "pid": "Spans", "tid": "PyTorch Profiler", "name": "PyTorch Profiler (0)",
   "ts": 1, "dur": 9},
  {"ph": "M", "name": "process_name", "pid": 4711, "tid": 0, "ts": 0, "args": {"name": "levin_tests"}},
  {"ph": "M", "name": "thread_name", "pid": 4711, "tid": 4711, "ts": 0, "args": {"name": "main"}}]
})json";

json events_of(const std::string& text) { return json::parse("[" + text + "]"); }

json event_named(const json& events, const std::string& name) {
  for (const auto& event : events)
    if (event["name"] == name) return event;
  return {};
}

}  // namespace

BOOST_AUTO_TEST_CASE(events_move_to_the_process_of_their_rank) {
  const auto events = events_of(placed_events(trace, {{"all-reduce for loss", 4712, 5011000, 5013500}},
                                              {.rank = 3, .host = "node7", .base_nanoseconds = 4000000, .clock_offset = 200}));
  const auto add = event_named(events, "aten::add");
  BOOST_TEST(add["pid"].get<int>() == 3);
  BOOST_TEST(add["tid"].get<int>() == 4711);
  BOOST_TEST(add["ts"].get<double>() == 10.5 + 1000 - 200);
  BOOST_TEST(add["dur"].get<double>() == 2);
  BOOST_TEST(event_named(events, "add")["pid"].get<int>() == 1'000'003);
  // An operator, its kernel and their flow stay linked, and are not linked to those of other ranks.
  constexpr int64_t before = 3 * (int64_t{1} << 32);
  BOOST_TEST(event_named(events, "ac2g")["id"].get<int64_t>() == before + 3);
  BOOST_TEST(add["args"]["External id"].get<int64_t>() == before + 3);
  BOOST_TEST(event_named(events, "add")["args"]["External id"].get<int64_t>() == before + 3);
  BOOST_TEST(event_named(events, "add")["args"]["correlation"].get<int64_t>() == before + 5);
  BOOST_TEST(event_named(events, "cudaGetDevice")["args"]["External id"].get<int64_t>() == 0);
  BOOST_TEST(event_named(events, "cudaGetDevice")["args"]["correlation"].get<int64_t>() == before + 6);
  const auto collective = event_named(events, "all-reduce for loss");
  BOOST_TEST(collective["pid"].get<int>() == 3);
  BOOST_TEST(collective["tid"].get<int>() == 4712);
  BOOST_TEST(collective["ts"].get<double>() == 11 + 1000 - 200);
  BOOST_TEST(collective["dur"].get<double>() == 2.5);
  BOOST_TEST(event_named(events, "thread_name")["pid"].get<int>() == 3);
  BOOST_TEST(event_named(events, "PyTorch Profiler (0)").is_null());
  int processes = 0;
  for (const auto& event : events)
    if (event["name"] == "process_name") {
      processes++;
      const std::string expected = event["pid"].get<int>() == 3 ? "rank 3 on node7" : "rank 3, device 0";
      BOOST_TEST(event["args"]["name"].get<std::string>() == expected);
    }
  BOOST_TEST(processes == 2);
}

BOOST_AUTO_TEST_CASE(another_text_is_refused) {
  for (const char* text : {"", "[]", "{", R"({"traceEvents": []})", R"({"baseTimeNanoseconds": 1, "traceEvents": 2})"})
    levin::test::check_throws<levin::DataError>([&] { placed_events(text, {}, {}); }, {"not a trace of Kineto's"});
}

BOOST_AUTO_TEST_SUITE_END()
