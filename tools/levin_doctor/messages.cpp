#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <limits>
#include <map>
#include <vector>

#include "doctor.h"
#include "levin/comm/host_values.h"

namespace levin::doctor {
namespace {

using MessageClock = std::chrono::steady_clock;
using Pairs = std::vector<std::pair<int, int>>;

constexpr int message_tag = 7;

struct LinkSpeed {
  double latency = std::numeric_limits<double>::quiet_NaN(), bandwidth = latency;
};

/// Round trips with one other rank. Both call the same functions; `leads` on one side.
class PingPong {
 public:
  PingPong(MPI_Comm ranks, int peer, bool leads) : ranks_(ranks), peer_(peer), leads_(leads), bytes_(most_bytes) {}

  LinkSpeed measure(double seconds) {
    LinkSpeed speed;
    median(3, 8);  // connects
    const double trip = median(5, 8);
    speed.latency = median(rounds_within(seconds / 4, trip, 1000), 8) / 2 * 1e6;
    const double probe = median(2, most_bytes / 16);
    speed.bandwidth = 2.0 * most_bytes / median(rounds_within(seconds / 2, probe * 16, 50), most_bytes) * 1e-9;
    return speed;
  }

 private:
  static constexpr int most_bytes = 4 << 20;

  // The leader's clock decides.
  int rounds_within(double seconds, double each, int most) {
    int rounds = std::clamp(static_cast<int>(std::min<double>(most, seconds / std::max(each, 1e-9))), 1, most);
    if (leads_)
      check_mpi(MPI_Send(&rounds, 1, MPI_INT, peer_, message_tag, ranks_), "MPI_Send");
    else
      check_mpi(MPI_Recv(&rounds, 1, MPI_INT, peer_, message_tag, ranks_, MPI_STATUS_IGNORE), "MPI_Recv");
    return rounds;
  }
  double median(int rounds, int bytes) {
    std::vector<double> times(static_cast<size_t>(rounds));
    for (auto& time : times) {
      const auto began = MessageClock::now();
      for (const bool sends : {leads_, !leads_})
        if (sends)
          check_mpi(MPI_Send(bytes_.data(), bytes, MPI_BYTE, peer_, message_tag, ranks_), "MPI_Send");
        else
          check_mpi(MPI_Recv(bytes_.data(), bytes, MPI_BYTE, peer_, message_tag, ranks_, MPI_STATUS_IGNORE), "MPI_Recv");
      time = std::chrono::duration<double>(MessageClock::now() - began).count();
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

  MPI_Comm ranks_;
  int peer_;
  bool leads_;
  std::vector<char> bytes_;
};

// Neighbours in a row: first those at even places with the next, then those at odd places.
void add_neighbours(const std::vector<int>& row, bool closes, std::array<Pairs, 2>& phases) {
  for (size_t i = 0; i + 1 < row.size(); i++) phases[i % 2].emplace_back(row[i], row[i + 1]);
  if (closes && row.size() > 2 && row.size() % 2 == 0) phases[1].emplace_back(row.back(), row.front());
}

/// Measures the pairs of a phase at once. Collective.
void run_phase(Doctor& doctor, const Pairs& pairs, double seconds, const std::function<std::string(int, int)>& name,
               std::vector<LinkSpeed>& speeds, std::vector<std::string>& names) {
  LinkSpeed mine;
  doctor.communicator.cpu().barrier("messages");
  for (const auto& [leader, peer] : pairs) {
    const int rank = doctor.mpi.rank();
    if (rank == leader) mine = PingPong(doctor.mpi.communicator(), peer, true).measure(seconds);
    if (rank == peer) PingPong(doctor.mpi.communicator(), leader, false).measure(seconds);
  }
  const auto all = all_gather_value(doctor.communicator, mine);
  for (const auto& [leader, peer] : pairs) {
    speeds.push_back(all[static_cast<size_t>(leader)]);
    names.push_back(name(leader, peer));
  }
}

void report_links(Doctor& doctor, const std::array<Pairs, 2>& phases, double seconds, const std::string& where,
                  const std::function<std::string(int, int)>& name) {
  std::vector<LinkSpeed> speeds;
  std::vector<std::string> names;
  for (const auto& pairs : phases)
    if (!pairs.empty()) run_phase(doctor, pairs, seconds, name, speeds, names);
  std::vector<double> latencies, bandwidths;
  for (const auto& speed : speeds) latencies.push_back(speed.latency), bandwidths.push_back(speed.bandwidth);
  doctor.report.spread("latency", latencies, names, "us", Better::lower, " " + where);
  doctor.report.spread("bandwidth", bandwidths, names, "GB/s", Better::higher, " " + where);
}

}  // namespace

void measure_messages(Doctor& doctor, double seconds) {
  if (doctor.mpi.size() == 1) return;
  std::map<std::string, std::vector<int>> ranks_of_host;
  std::vector<int> firsts;
  const auto& locations = doctor.topology.locations();
  for (const auto& location : locations) {
    ranks_of_host[location.host].push_back(location.rank);
    if (location.local_rank == 0) firsts.push_back(location.rank);
  }
  std::array<Pairs, 2> within, between;
  for (const auto& [host, ranks] : ranks_of_host) add_neighbours(ranks, false, within);
  add_neighbours(firsts, true, between);
  const double each = seconds / 4;
  const auto host_of = [&](int rank) { return locations[static_cast<size_t>(rank)].host; };
  report_links(doctor, within, each, "within a host", [&](int a, int b) { return fmt::format("ranks {} and {} on {}", a, b, host_of(a)); });
  report_links(doctor, between, each, "between hosts",
               [&](int a, int b) { return fmt::format("{} and {} (ranks {} and {})", host_of(a), host_of(b), a, b); });
}

}  // namespace levin::doctor
