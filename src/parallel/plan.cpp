#include "levin/parallel/plan.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>

#include "levin/core/number_text.h"
#include "levin/parallel/flat_buffer.h"
#include "levin/parallel/group_memory.h"
#include "plan_time.h"
#include "step_walk.h"

namespace levin {
namespace {

using detail::StepEvent;

bool early_on(const Ranks& ranks) { return ranks.all > 1 && (!ranks.share_memory || ranks.hosts > 1); }

std::vector<GroupLayout> layout_of(const PlanModel& model, const Form& form, int64_t alignment_bytes) {
  return make_layout(model.parameters, {.ranks = form.ranks, .alignment_bytes = alignment_bytes, .by_unit = form.by_unit()});
}

// Takes and gives memory as the engine does, but of a device that has none.
class Rehearsal {
 public:
  Rehearsal(const PlanModel& model, const std::vector<GroupLayout>& layout, const Form& form, bool owns_shared) {
    const auto meta = c10::Device(c10::kMeta);
    for (const auto& group : layout) {
      const auto lifetimes = form.of_unit(group.unit);
      auto compute = group.dtype;
      if (form.options.param_dtype && c10::isFloatingType(compute)) compute = scalar_type_of(*form.options.param_dtype);
      const bool comes = lifetimes.parameters == Hold::sharded;
      const int64_t bytes = group.numel * static_cast<int64_t>(c10::elementSize(group.dtype));
      if (lifetimes.parameters != Hold::shared || owns_shared) add(MemoryKind::parameters, comes ? bytes / form.shard_ranks : bytes);
      if (group.trained && lifetimes.gradients != Hold::sharded) add(MemoryKind::gradients, bytes);
      const bool counts = comes && (owns_shared || !form.lifetimes.gathers_once);
      auto& pool = form.lifetimes.gathers_once ? shared_pool_ : pool_;
      gathered_.push_back(counts ? FlatBuffer(group.numel, compute, meta, MemoryKind::parameters, pool) : FlatBuffer());
      unreduced_.push_back(group.trained && lifetimes.gradients == Hold::sharded
                               ? FlatBuffer(group.numel, comes ? compute : group.dtype, meta, MemoryKind::gradients, pool_)
                               : FlatBuffer());
    }
    for (size_t g = 0; g < layout.size(); g++) {  // while values are taken over
      gathered_[g].fill();
      if (layout[g].trained && form.lifetimes.optimizer == Hold::sharded) add(MemoryKind::gradients, owned(layout[g], form));
      if (unreduced_[g].defined()) unreduced_[g].fill();
      look();
      unreduced_[g].drop(), gathered_[g].drop();
    }
    for (const auto& group : layout)
      if (group.trained) add(MemoryKind::optimizer, model.state_tensors[static_cast<size_t>(group.optimizer)] * owned(group, form));
  }

  void play(const std::vector<StepEvent>& events) {
    for (const auto& event : events) {
      switch (event.kind) {
        case StepEvent::Kind::fill_parameters: gathered_[event.group].fill(), look(); break;
        case StepEvent::Kind::drop_parameters: gathered_[event.group].drop(); break;
        case StepEvent::Kind::fill_gradients: unreduced_[event.group].fill(), look(); break;
        case StepEvent::Kind::drop_gradients: unreduced_[event.group].drop(); break;
        default: break;
      }
    }
  }
  const RankMemory& peak() const noexcept { return peak_; }

 private:
  static int64_t owned(const GroupLayout& group, const Form& form) {
    const int64_t numel = form.lifetimes.optimizer == Hold::sharded ? group.numel / form.shard_ranks : group.numel;
    return numel * static_cast<int64_t>(c10::elementSize(group.dtype));
  }
  void add(MemoryKind kind, int64_t bytes) { meter_.add(kind, bytes), look(); }
  void look() {
    if (meter_.total() <= peak_.total()) return;
    peak_ = {meter_.now(MemoryKind::parameters), meter_.now(MemoryKind::gradients), meter_.now(MemoryKind::optimizer)};
  }

  MemoryMeter meter_;
  BufferPool pool_{meter_}, shared_pool_{meter_};
  std::vector<FlatBuffer> gathered_, unreduced_;
  RankMemory peak_;
};

}  // namespace

int64_t PlanModel::numel() const {
  int64_t sum = 0;
  for (const auto& parameter : parameters) sum += parameter.numel;
  return sum;
}

const char* name_of(CollectiveOp op) noexcept {
  switch (op) {
    case CollectiveOp::all_reduce: return "all_reduce";
    case CollectiveOp::reduce_scatter: return "reduce_scatter";
    case CollectiveOp::all_gather: return "all_gather";
    case CollectiveOp::gather_shared: return "gather_shared";
    case CollectiveOp::read_peers: return "read_peers";
    case CollectiveOp::exchange: return "exchange";
    default: return "barrier";
  }
}

Ranks ranks_of(const ClusterConfig& cluster) { return ranks_of(mesh_of(cluster), !cluster.own_memory()); }

MeshLayout mesh_of(const ClusterConfig& cluster) {
  return MeshLayout::of_cluster(static_cast<int>(cluster.nodes), static_cast<int>(cluster.devices_per_node));
}

MemoryPlan plan_memory(const PlanModel& model, const Form& form, const Ranks& ranks, int64_t micro_batches, int64_t alignment_bytes) {
  const auto layout = layout_of(model, form, alignment_bytes);
  detail::StepWalk walk(model, layout, form, early_on(ranks), {.micro_batches = micro_batches});
  const auto first_step = walk.step(), later_step = walk.step();
  const auto peak = [&](bool owns_shared) {
    Rehearsal rehearsal(model, layout, form, owns_shared);
    rehearsal.play(first_step), rehearsal.play(later_step);
    return rehearsal.peak();
  };
  return {.first = peak(true), .other = peak(!form.one_copy())};
}

Plan make_plan(const PlanModel& model, const Form& form, const ClusterConfig& cluster, const PlanWork& work, int64_t alignment_bytes) {
  const Ranks ranks = ranks_of(cluster);
  Plan plan;
  plan.form = form;
  plan.memory = plan_memory(model, form, ranks, work.micro_batches, alignment_bytes);
  const auto layout = layout_of(model, form, alignment_bytes);
  detail::StepWalk walk(model, layout, form, early_on(ranks), work);
  walk.step();
  const auto events = walk.step();
  for (const auto& event : events)
    if (event.kind == StepEvent::Kind::start) plan.collectives.push_back(event.what);
  plan.time = detail::step_time(events, model, form, cluster, work);
  return plan;
}

bool fits(const MemoryPlan& memory, const ClusterConfig& cluster, int64_t node_bytes, int64_t reserved) {
  if (cluster.own_memory()) return memory.first.total() + reserved <= cluster.device_memory->value;
  return memory.node(cluster.devices_per_node) + reserved * cluster.devices_per_node <= node_bytes;
}

const Plan* fastest_that_fits(const std::vector<Plan>& plans, const ClusterConfig& cluster, int64_t node_bytes, int64_t reserved) {
  constexpr double same = 0.999;
  const Plan* best = nullptr;
  for (const auto& plan : plans)
    if (fits(plan.memory, cluster, node_bytes, reserved) && (!best || plan.time.total() < same * best->time.total())) best = &plan;
  return best;
}

std::vector<std::pair<std::string, StrategyConfig>> planned_strategies() {
  return {{"ddp", DDP{}}, {"zero1", Zero1{}}, {"zero2", Zero2{}}, {"fsdp", FSDP{}}};
}

std::string bytes_text(int64_t bytes) {
  auto value = static_cast<double>(bytes);
  const char* unit = "B";
  for (const char* next : {"kB", "MB", "GB", "TB", "PB"})
    if (value >= 999.5) value /= 1000, unit = next;
  return bytes < 1000 ? fmt::format("{} B", bytes) : fmt::format("{:.3g} {}", value, unit);
}

namespace {

// A file's words, of which numbers are parsed without the program's locale.
std::vector<std::string> words_of(const std::string& file) {
  std::ifstream in(file);
  return {std::istream_iterator<std::string>(in), {}};
}

/// The sum in bytes of a meminfo file's named lines, which are in KiB.
int64_t sum_of_meminfo(const std::string& file, std::initializer_list<std::string_view> names) {
  const auto words = words_of(file);
  int64_t bytes = 0;
  for (size_t i = 0; i + 1 < words.size(); i++)
    if (std::find(names.begin(), names.end(), words[i]) != names.end()) bytes += parse_number<int64_t>(words[i + 1]).value_or(0) << 10;
  return bytes;
}

std::optional<int64_t> number_in(const std::string& file) {
  const auto words = words_of(file);
  return words.empty() ? std::nullopt : parse_number<int64_t>(words.front());
}

}  // namespace

int64_t available_memory() {
  int64_t bytes = sum_of_meminfo("/proc/meminfo", {"MemAvailable:"});
  if (bytes == 0) bytes = std::numeric_limits<int64_t>::max();
  const auto limit = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
  if (limit && used) bytes = std::min(bytes, std::max<int64_t>(0, *limit - *used));
  return bytes;
}

int64_t available_memory_of_domain() {
  unsigned cpu = 0, domain = 0;
  if (getcpu(&cpu, &domain) != 0) return available_memory();
  // Pages of files are reclaimed when memory is short.
  const int64_t bytes =
      sum_of_meminfo(fmt::format("/sys/devices/system/node/node{}/meminfo", domain), {"MemFree:", "Active(file):", "Inactive(file):"});
  return bytes > 0 ? std::min(bytes, available_memory()) : available_memory();
}

}  // namespace levin
