#include "merged_trace.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "../core/file.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/session/session.h"

namespace levin::detail {
namespace {

using nlohmann::json;

// Numbers of the processes that stand for a GPU's kernels begin behind those of the ranks.
constexpr int64_t first_device_process = 1'000'000;
constexpr int64_t identifiers_of_a_rank = int64_t{1} << 32;

json parsed_trace(std::string_view text) {
  json trace = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!trace.is_object() || !trace["traceEvents"].is_array() || !trace["baseTimeNanoseconds"].is_number_integer())
    throw DataError("a text is not a trace of Kineto's", "use the simple profiler", "profilers");
  return trace;
}

// A number that links events must differ from those of other ranks; 0 links none.
void make_distinct(json& fields, const char* name, int rank) {
  const auto found = fields.find(name);
  if (found == fields.end() || !found->is_number_integer() || *found == 0) return;
  *found = found->get<int64_t>() % identifiers_of_a_rank + rank * identifiers_of_a_rank;
}

bool is_metadata(const json& event) { return event.value("ph", "") == "M"; }

// The process of the host has most threads' events; devices have numbers from 0.
int64_t host_process(const json& events) {
  for (const auto& event : events)
    if (event.value("cat", "") == "user_annotation" || event.value("cat", "") == "cpu_op")
      if (event["pid"].is_number_integer()) return event["pid"].get<int64_t>();
  return -1;
}

// Events that name a process and order it among the others.
std::string process_events(int64_t process, const std::string& name, int64_t position) {
  const json named{{"name", "process_name"}, {"ph", "M"}, {"pid", process}, {"tid", 0}, {"args", {{"name", name}}}};
  const json placed{{"name", "process_sort_index"}, {"ph", "M"}, {"pid", process}, {"tid", 0}, {"args", {{"sort_index", position}}}};
  return named.dump() + ",\n" + placed.dump();
}

std::string text_of_part(const std::filesystem::path& path) {
  const File file = File::open_to_read(path, "profilers");
  std::string text(file.size(), '\0');
  file.read_at(text.data(), text.size(), 0);
  return text;
}

// Clocks of hosts differ. A rank's is ahead by what it shows more than rank 0's, just behind a barrier; the barrier's own time is an error.
double clock_ahead_of_rank_0(Communicator& communicator) {
  std::array<int64_t, 5> ahead{};
  for (auto& difference : ahead) {
    communicator.cpu().barrier("the clocks of the traces");
    const int64_t now = nanoseconds_since_epoch();
    difference = now - broadcast_value(communicator, now);
  }
  std::sort(ahead.begin(), ahead.end());
  return static_cast<double>(ahead[ahead.size() / 2]) / 1e3;
}

void send_text(Communicator& ranks, const std::string& text, int to) {
  int64_t bytes = static_cast<int64_t>(text.size());
  ranks.send(at::from_blob(&bytes, {1}, at::kLong), to, "the size of a trace").wait();
  if (bytes > 0) ranks.send(at::from_blob(const_cast<char*>(text.data()), {bytes}, at::kByte), to, "a trace").wait();
}

std::string receive_text(Communicator& ranks, int from) {
  int64_t bytes = 0;
  ranks.recv(at::from_blob(&bytes, {1}, at::kLong), from, "the size of a trace").wait();
  std::string text(static_cast<size_t>(bytes), '\0');
  if (bytes > 0) ranks.recv(at::from_blob(text.data(), {bytes}, at::kByte), from, "a trace").wait();
  return text;
}

}  // namespace

int64_t nanoseconds_since_epoch() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string placed_events(std::string_view text, const std::vector<ThreadRange>& ranges, const TracePlace& place) {
  json trace = parsed_trace(text);
  auto& events = trace["traceEvents"];
  const int64_t host = host_process(events);
  const double shift = static_cast<double>(trace["baseTimeNanoseconds"].get<int64_t>() - place.base_nanoseconds) / 1e3 - place.clock_offset;
  std::string all = process_events(place.rank, fmt::format("rank {} on {}", place.rank, place.host), place.rank);
  std::vector<int64_t> devices;
  for (auto& event : events) {
    if (!event.contains("pid") || !event["pid"].is_number_integer()) continue;  // Kineto's marks of its own span
    const auto process = event["pid"].get<int64_t>();
    const bool of_process = is_metadata(event) && event.value("name", "").starts_with("process_");
    if (of_process) continue;
    if (process == host) {
      event["pid"] = place.rank;
    } else {
      event["pid"] = first_device_process * (process + 1) + place.rank;
      if (std::find(devices.begin(), devices.end(), process) == devices.end()) devices.push_back(process);
    }
    if (event.contains("ts") && event["ts"].is_number()) event["ts"] = event["ts"].get<double>() + shift;
    make_distinct(event, "id", place.rank);
    if (const auto args = event.find("args"); args != event.end() && args->is_object())
      for (const char* link : {"External id", "correlation"}) make_distinct(*args, link, place.rank);
    all += ",\n" + event.dump(-1, ' ', false, json::error_handler_t::replace);
  }
  for (const int64_t device : devices) {
    const int64_t process = first_device_process * (device + 1) + place.rank;
    all += ",\n" + process_events(process, fmt::format("rank {}, device {}", place.rank, device), first_device_process + place.rank);
  }
  for (const auto& range : ranges) {
    const json event{{"ph", "X"},
                     {"cat", "user_annotation"},
                     {"name", range.name},
                     {"pid", place.rank},
                     {"tid", range.thread},
                     {"ts", static_cast<double>(range.begin - place.base_nanoseconds) / 1e3 - place.clock_offset},
                     {"dur", static_cast<double>(range.end - range.begin) / 1e3}};
    all += ",\n" + event.dump(-1, ' ', false, json::error_handler_t::replace);
  }
  return all;
}

void merge_traces(Session& session, int ranks, const TracePart& part, const std::filesystem::path& file) {
  auto& communicator = session.communicator().cpu();
  const int rank = session.rank();
  const double ahead = clock_ahead_of_rank_0(communicator);
  std::string mine, properties;
  int64_t base = 0;
  on_all_ranks(communicator, "profilers", [&] {
    if (rank >= ranks) return;
    mine = text_of_part(part.kineto);
    if (rank > 0) return;
    const json trace = parsed_trace(mine);
    base = trace["baseTimeNanoseconds"].get<int64_t>();
    properties = trace.value("deviceProperties", json::array()).dump();
  });
  base = broadcast_value(communicator, base);
  on_all_ranks(communicator, "profilers", [&] {
    if (rank >= ranks) return;
    const auto& locations = session.topology().locations();
    const auto& host = locations[static_cast<size_t>(rank)].host;
    mine = placed_events(mine, part.ranges, {rank, host, base, host == locations[0].host ? 0 : ahead});
  });
  if (rank > 0 && rank < ranks) send_text(communicator, mine, 0);
  std::exception_ptr failure;
  int received = 1;
  const auto write = [&](File& out) {
    uint64_t offset = 0;
    const auto append = [&](const std::string& text) {
      out.write_at(text.data(), text.size(), offset);
      offset += text.size();
    };
    append(
        fmt::format("{{\"schemaVersion\":1,\"displayTimeUnit\":\"ms\",\"baseTimeNanoseconds\":{},\"deviceProperties\":{},"
                    "\"traceName\":{},\"traceEvents\":[\n",
                    base, properties, json(file.filename().string()).dump()));
    append(mine);
    while (received < ranks) append(",\n" + receive_text(communicator, received++));
    append("\n]}\n");
  };
  if (rank == 0) {
    try {
      std::filesystem::create_directories(file.parent_path());
      replace_file(file, write, /*sync=*/false);
    } catch (const CommunicatorAborted&) {
      throw;
    } catch (const std::exception&) {
      failure = std::current_exception();
    }
    while (received < ranks) receive_text(communicator, received++);  // the others wait until they have sent
  }
  rethrow_on_all_ranks(communicator, failure, "profilers");
}

}  // namespace levin::detail
