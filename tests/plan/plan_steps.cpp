// plan_steps STRATEGY NODES DEVICES_PER_NODE OWN_MEMORY BANDWIDTH LATENCY FILE: writes the events of a step of a GPT for simulated_step,
// and prints the seconds that the plan says, and the ranks that hold one copy. The last two numbers are of the network, and SI units.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "../../src/plan/plan_time.h"
#include "levin/plan/plan.h"

namespace {

using levin::detail::StepEvent;

// 25 M parameters: 8 layers of width 512.
levin::PlanModel gpt() {
  levin::PlanModel model;
  model.state_tensors = {2};
  constexpr int64_t width = 512;
  const auto add = [&](int unit, int64_t numel) {
    model.parameters.push_back({"p" + std::to_string(model.parameters.size()), numel, c10::ScalarType::Float, true, unit, 0, 0});
  };
  add(0, 256 * width);
  for (int layer = 1; layer <= 8; layer++) {
    model.units.push_back({"block" + std::to_string(layer), 0, false});
    for (const int64_t numel : {width, 3 * width * width, width * width, width, 4 * width * width, 4 * width * width}) add(layer, numel);
  }
  add(0, 256 * width);
  return model;
}

levin::StrategyConfig named(const std::string& name) {
  const levin::ShardingOptions own{.share_parameters = levin::ShareParameters::none};
  if (name == "ddp") return levin::DDP{levin::ShareParameters::none};
  if (name == "zero1") return levin::Zero1{own};
  if (name == "zero2") return levin::Zero2{own};
  if (name == "hsdp") return levin::HSDP{own};
  if (name == "shared") return levin::DDP{};
  if (name == "gathered") return levin::FSDP{};
  return levin::FSDP{levin::ShardingStrategy::full_shard, own};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) return 2;
  levin::ClusterConfig cluster{.nodes = std::atoi(argv[2]), .devices_per_node = std::atoi(argv[3])};
  cluster.bandwidth_between_nodes = levin::Bytes{static_cast<int64_t>(std::atof(argv[5]))};
  cluster.latency_between_nodes = levin::Seconds{std::atof(argv[6])};
  cluster.memory_bandwidth = levin::Bytes{200'000'000'000};
  const bool own_memory = std::atoi(argv[4]) != 0;
  if (own_memory) cluster.device_memory = levin::Bytes{int64_t{80} << 30};
  const auto model = gpt();
  const levin::Workload work{.flops = 6.0 * static_cast<double>(model.numel()) * 64, .micro_batches = 2, .clip_by_norm = true};
  const auto ranks = levin::ranks_of(cluster);
  const auto plan = levin::resolve_strategy(named(argv[1]), ranks);
  levin::detail::StepSimulator simulator(model, plan, ranks, work, own_memory ? 256 : 64);
  simulator.step();
  std::FILE* file = std::fopen(argv[7], "w");
  if (!file) return 2;
  std::fprintf(file, "%d %d %d %.9g\n", plan.ranks, static_cast<int>(cluster.devices_per_node), own_memory ? 1 : 0,
               cluster.latency_in_node.value);
  const double of_parameter = levin::detail::forward_seconds(cluster, work) / static_cast<double>(model.numel());
  const auto events = simulator.step();
  for (const auto& event : events) {
    if (event.kind == StepEvent::Kind::compute) std::fprintf(file, "c %.9g\n", event.amount * of_parameter);
    if (event.kind == StepEvent::Kind::memory) std::fprintf(file, "m %.9g\n", event.amount);
    if (event.kind == StepEvent::Kind::wait) std::fprintf(file, "w %zu\n", event.index);
    if (event.kind == StepEvent::Kind::start) {
      const auto shape = levin::role_shapes(plan, cluster)[static_cast<size_t>(event.collective.role)];
      std::fprintf(file, "s %zu %d %d %d %d %lld %lld\n", event.index, static_cast<int>(event.collective.op),
                   static_cast<int>(event.collective.role), levin::detail::in_background(shape, cluster) ? 1 : 0,
                   event.collective.in_window ? 1 : 0, static_cast<long long>(event.collective.bytes),
                   static_cast<long long>(event.collective.bytes_between_nodes));
    }
  }
  if (std::fclose(file) != 0) return 2;
  std::printf("%.9g %d\n", levin::detail::step_time(events, model, plan, cluster, work).total(), plan.shard_ranks);
  return 0;
}
