#include "plan_command.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "levin/cli/run.h"
#include "levin/core/heap.h"
#include "levin/core/memory.h"
#include "levin/core/trace_context.h"
#include "levin/nn/build_context.h"
#include "levin/nn/unit.h"
#include "levin/plan/plan.h"
#include "levin/session/precision.h"

namespace levin::cli {
namespace {

// Frees the parameters of each finished unit: only their sizes are needed.
class ShapesOnly : public BuildContext {
 public:
  void adopt(const std::shared_ptr<UnitBase>& unit) override {
    for (const Tensor& parameter : unit->parameters()) {
      auto* storage = parameter.storage().unsafeGetStorageImpl();
      if (storage->nbytes() != parameter.nbytes()) continue;
      storage->set_data_ptr_noswap(c10::DataPtr(nullptr, storage->device()));
      storage->set_nbytes(0);
    }
  }

 private:
  HeapGivesBack heap_;
};

struct Row {
  std::string name;
  StrategyConfig config;
  bool chosen = false;
};

// The strategies for this cluster. The configured one replaces its row, or comes first if its options differ from all rows.
std::vector<Row> rows_of(const StrategyConfig& chosen, const Ranks& ranks) {
  std::vector<Row> rows;
  if (ranks.all == 1)
    rows.push_back({"single_device", SingleDevice{}});
  else
    for (auto& [name, config] : planned_strategies()) rows.push_back({name, config});
  if (ranks.hosts > 1 && ranks.ranks_per_node > 1) rows.push_back({"hsdp", HSDP{}});
  const auto configured = resolve_strategy(chosen, ranks);
  const auto options = write_config(configured.options);
  for (auto& row : rows) {
    const auto plan = resolve_strategy(row.config, ranks);
    if (plan.placements != configured.placements || (plan.name != configured.name && ranks.all > 1)) continue;
    if (to_yaml(write_config(plan.options), false) != to_yaml(options, false)) continue;
    row.chosen = true, row.config = chosen;
    return rows;
  }
  rows.insert(rows.begin(), {configured.name + ", as configured", chosen, true});
  return rows;
}

std::string seconds_text(double seconds) {
  return seconds >= 1      ? fmt::format("{:.3g} s", seconds)
         : seconds >= 1e-3 ? fmt::format("{:.3g} ms", 1e3 * seconds)
                           : fmt::format("{:.3g} us", 1e6 * seconds);
}

std::string flop_text(double count) {
  for (const auto& [size, unit] : {std::pair{1e18, "E"}, {1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}})
    if (count >= size) return fmt::format("{:.3g} {}FLOP", count / size, unit);
  return fmt::format("{:.3g} FLOP", count);
}

std::string describe(const GroupShape& shape) {
  std::string text = fmt::format("{} ranks", shape.ranks());
  if (shape.hosts == 1) return text + " of a node";
  return text + (shape.local == 1 ? fmt::format(", one on each of {} nodes", shape.hosts) : fmt::format(" on {} nodes", shape.hosts));
}

void print_collectives(const std::string& name, const Plan& plan, const ClusterConfig& cluster) {
  struct Sum {
    int64_t count = 0, bytes = 0;
    double seconds = 0;
  };
  const auto shapes_by_role = role_shapes(plan.sharding, cluster);
  std::map<std::pair<MeshRole, CollectiveOp>, Sum> sums;
  for (const auto& collective : plan.collectives) {
    auto& sum = sums[{collective.role, collective.op}];
    sum.count++, sum.bytes += collective.bytes;
    sum.seconds += collective_seconds(collective, shapes_by_role[static_cast<size_t>(collective.role)], cluster);
  }
  std::printf("  %s%s\n", name.c_str(), sums.empty() ? ": none" : "");
  for (const auto& [kind, sum] : sums) {
    const auto& shape = shapes_by_role[static_cast<size_t>(kind.first)];
    const bool messages = cluster.own_memory() || shape.hosts > 1;
    std::printf("    %6lld x %-14s %9s together, %s, %s%s\n", static_cast<long long>(sum.count), name_of(kind.second),
                bytes_text(sum.bytes).c_str(), describe(shape).c_str(), seconds_text(sum.seconds).c_str(),
                messages ? "" : ", in shared memory: no messages");
  }
}

void print_row(const Row& row, const Plan& plan, const ClusterConfig& cluster, bool fits_memory, bool best) {
  const auto& [sharding, memory, collectives, time] = plan;
  const auto& first = memory.first;
  std::printf("%c%c %-20s %9s %9s %9s %9s %9s %9s %4s %9s %9s %9s %9s\n", row.chosen ? '*' : ' ', best ? '>' : ' ', row.name.c_str(),
              bytes_text(first.parameters).c_str(), bytes_text(first.gradients).c_str(), bytes_text(first.optimizer).c_str(),
              bytes_text(first.total()).c_str(), bytes_text(memory.other.total()).c_str(),
              bytes_text(memory.node(cluster.devices_per_node)).c_str(), fits_memory ? "yes" : "no", seconds_text(time.total()).c_str(),
              seconds_text(time.compute_seconds).c_str(), seconds_text(time.communication_seconds).c_str(),
              seconds_text(time.update_seconds).c_str());
}

std::vector<OptimizerSpec> optimizers_of(Module& module, const std::optional<OptimizerConfig>& replaced) {
  auto specs = call_hook("configure_optimizers", [&] { return module.configure_optimizers(); });
  if (!replaced) return specs;
  if (specs.empty()) specs.emplace_back(*replaced);
  specs.front().optimizer = *replaced, specs.front().factory = nullptr;
  return specs;
}

std::shared_ptr<Module> build(ProgramOptions& options, const Program& program) {
  if (options.has_late_links()) {
    const auto data = call_hook("the constructor of the data module", [&] { return program.make_data(); });
    call_hook("prepare_data", [&] { data->prepare_data(); });
    call_hook("setup", [&] { data->setup(Stage::fit); });
    options.apply_late_links();
  }
  ShapesOnly context;
  auto module = call_hook("the constructor of the model", [&] { return program.make_plain_module(); });
  call_hook("configure_model", [&] { module->configure_model(); });
  return module;
}

}  // namespace

void print_plan(const PlanConfig& config, const TrainerConfig& trainer, const std::optional<OptimizerConfig>& optimizer,
                ProgramOptions& options, const Program& program) {
  const auto& cluster = config.cluster;
  const Ranks ranks = ranks_of(cluster);
  const auto rows = rows_of(trainer.session.strategy, ranks);
  const auto module = build(options, program);
  const auto specs = optimizers_of(*module, optimizer);
  const auto dtype = parameter_dtype(trainer.session.precision);
  const int64_t alignment = cluster.own_memory() ? 256 : 64;
  const int64_t available = cluster.node_memory ? cluster.node_memory->value : available_memory(), reserved = config.reserved.value;
  std::vector<Plan> plans;
  Workload work{.micro_batches = trainer.accumulate_grad_batches};
  work.clip_by_norm = trainer.session.gradient_clip_val && trainer.session.gradient_clip_algorithm == ClipAlgorithm::norm;
  int64_t parameters = 0;
  for (const auto& row : rows) {
    const auto sharding = resolve_strategy(row.config, ranks, autocast_dtype(trainer.session.precision));
    auto model = describe_model(*module, specs, dtype, sharding.options.min_num_params);
    if (trainer.session.activation_checkpointing != ActivationCheckpointing::none)
      for (size_t unit = 1; unit < model.units.size(); unit++) model.units[unit].checkpointed |= model.units[unit].parent == 0;
    parameters = model.numel();
    work.flops = config.flops.value_or(6 * static_cast<double>(parameters) * config.batch);
    plans.push_back(make_plan(model, sharding, cluster, work, alignment));
  }
  const auto* best = fastest_that_fits(plans, cluster, available, reserved);

  std::printf("%lld parameters; a rank computes %s a step\n", static_cast<long long>(parameters),
              flop_text(work.flops * static_cast<double>(work.micro_batches)).c_str());
  const auto room = cluster.own_memory() ? fmt::format("{} each", bytes_text(cluster.device_memory->value))
                                         : fmt::format("{} of memory a node", bytes_text(available));
  std::printf("%lld nodes with %lld ranks each, %s%s\n", static_cast<long long>(cluster.nodes),
              static_cast<long long>(cluster.devices_per_node), room.c_str(),
              reserved > 0 ? fmt::format(", of which {} of each rank are reserved", bytes_text(reserved)).c_str() : "");
  std::printf("Step times are modelled%s.\n",
              ranks.all > most_ranks_checked
                  ? fmt::format("; the model was compared with a simulator up to {} ranks only", most_ranks_checked).c_str()
                  : "");
  for (const auto& spec : specs)
    if (spec.factory) std::printf("The state of the custom optimizer is not counted.\n");
  std::printf("\n%-23s %29s %9s %9s %9s %4s %9s %9s %9s %9s\n", "", "a node's first rank has", "in all", "others", "node", "fits", "step",
              "compute", "waits", "update");
  std::printf("%-23s %9s %9s %9s\n", "   strategy", "params", "grads", "optimizer");
  for (size_t i = 0; i < rows.size(); i++)
    print_row(rows[i], plans[i], cluster, fits(plans[i].memory, cluster, available, reserved), &plans[i] == best);
  const auto shares_parameters = [](const Plan& plan) { return plan.memory.first.parameters != plan.memory.other.parameters; };
  const bool share = std::any_of(plans.begin(), plans.end(), shares_parameters);
  std::printf("*: configured. >: the fastest that fits.%s\n", share ? " Parameters that a node shares are counted on its first rank." : "");
  std::printf("\nCollectives of a step:\n");
  for (size_t i = 0; i < rows.size(); i++) print_collectives(rows[i].name, plans[i], cluster);
  std::fflush(stdout);

  for (size_t i = 0; i < rows.size(); i++) {
    if (!rows[i].chosen || fits(plans[i].memory, cluster, available, reserved)) continue;
    const auto& memory = plans[i].memory;
    const bool own = cluster.own_memory();
    throw ConfigError(fmt::format("strategy {} needs {} {}, {} are available", rows[i].name,
                                  bytes_text(own ? memory.first.total() + reserved
                                                 : memory.node(cluster.devices_per_node) + reserved * cluster.devices_per_node),
                                  own ? "on a device" : "on a node", bytes_text(own ? cluster.device_memory->value : available)),
                      best ? fmt::format("use --trainer.strategy {}", rows[static_cast<size_t>(best - plans.data())].name)
                           : "no strategy fits: plan with more --plan.nodes, or a smaller model",
                      "plan");
  }
}

}  // namespace levin::cli
