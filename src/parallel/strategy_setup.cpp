#include <ATen/ops/full.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/core/heap.h"
#include "levin/nn/module_buffers.h"
#include "levin/nn/unit.h"
#include "levin/parallel/strategy.h"
#include "memory_check.h"
#include "model_checks.h"
#include "parameter_infos.h"
#include "strategy_parts.h"

namespace levin {
namespace {

Ranks ranks_of(Communicator& communicator) {
  Ranks ranks{.all = communicator.size(), .share_memory = communicator.node() != nullptr};
  ranks.of_host = ranks.share_memory ? communicator.node()->size() : 1;
  if (ranks.all == 1 || !on_several_hosts(communicator)) return ranks;
  const Tensor least = at::full({1}, ranks.of_host, at::kLong),
               leaders = at::full({1}, communicator.node()->rank() == 0 ? 1 : 0, at::kLong);
  communicator.all_reduce(least, ReduceOp::min).wait();
  communicator.all_reduce(leaders).wait();
  ranks.hosts = static_cast<int>(leaders.item<int64_t>());
  if (least.item<int64_t>() * ranks.hosts != ranks.all) ranks.of_host = 0;
  return ranks;
}

}  // namespace

class Strategy::Collector : public BuildContext {
 public:
  explicit Collector(Strategy& strategy) : strategy_(strategy) {
    if (strategy_.making_->parked) heap_.emplace();
  }
  void adopt(const std::shared_ptr<UnitBase>& unit) override {
    strategy_.units_.push_back(unit);
    if (strategy_.making_->parked) strategy_.making_->parked->park(*unit);
  }

 private:
  Strategy& strategy_;
  std::optional<HeapGivesBack> heap_;  // what is cut of a finished unit
};

std::unique_ptr<Strategy> Strategy::create(const StrategyConfig& config, Communicator& communicator, int64_t alignment_bytes, Log log,
                                           int64_t (*free_memory)()) {
  std::unique_ptr<Strategy> strategy(new Strategy(communicator, alignment_bytes, std::move(log)));
  strategy->making_->automatic = std::holds_alternative<AutoStrategy>(config);
  strategy->making_->free_memory = free_memory ? free_memory : &available_memory;
  strategy->making_->places = ranks_of(communicator);
  strategy->form_ = choose_form(config, strategy->making_->places);
  strategy->find_ranks();
  return strategy;
}

void Strategy::find_ranks() {
  making_->shard.reset(), making_->replicas.reset();
  making_->ranks = {communicator_, communicator_, nullptr};
  const int size = form_.shard_ranks, rank = communicator_->rank();
  if (form_.lifetimes.optimizer != Hold::sharded || size == communicator_->size()) return;
  making_->shard = communicator_->split(rank / size, rank);
  making_->replicas = communicator_->split(rank % size, rank);
  making_->ranks.shard = making_->shard.get(), making_->ranks.replicas = making_->replicas.get();
}

std::unique_ptr<BuildContext> Strategy::open_build_context(std::optional<at::ScalarType> dtype) {
  if (form_.by_unit() && making_->ranks.shard->size() > 1 && !making_->parked)  // a model may be built in several contexts
    making_->parked = std::make_unique<detail::ParkedParameters>(*making_->ranks.shard, dtype);
  return std::make_unique<Collector>(*this);
}

bool Strategy::parked(const Tensor& parameter) const { return making_->parked && making_->parked->has(parameter); }

// What an earlier setup has cut is made whole, for the coming one to take.
void Strategy::make_room(const torch::nn::Module& module) {
  toggle(std::nullopt);
  running_->overlap.reset();
  running_->runners.reset();
  const auto last = module_.lock();
  for (auto& group : groups_) {
    if (!group.parameters_sharded() || last.get() != &module) continue;
    group.gather();
    for (const auto& member : group.members()) member.set_data(member.detach().clone());
    group.release();
  }
  optimizers_.clear(), groups_.clear(), parameters_.clear(), making_->parameter_names.clear(), making_->unit_of_parameter.clear(),
      buffers_.clear(), undefined_at_setup_.clear();
  making_->pools.reset();
  meter_ = {};
  making_->pools = std::make_unique<BufferPools>(meter_);
}

void Strategy::setup(torch::nn::Module& module, std::vector<OptimizerSpec> optimizers) {
  make_room(module);
  if (making_->automatic) form_ = choose_form(AutoStrategy{}, making_->places), find_ranks();
  specs_ = std::move(optimizers);
  parameters_ = detail::parameters_of(module);
  for (const auto& parameter : parameters_) making_->parameter_names.push_back(parameter.name);
  detail::check_supported(module, /*trained=*/!specs_.empty());
  check_patterns(specs_, making_->parameter_names);
  detail::check_same_model(module, *communicator_);
  module_ = module.weak_from_this();
  backward_done_ = warned_of_absent_ = false;
  searched_.assign(std::max<size_t>(1, specs_.size()), 0);
  const bool custom = std::any_of(specs_.begin(), specs_.end(), [](const auto& spec) { return spec.factory != nullptr; });
  if (custom && form_.lifetimes.optimizer == Hold::sharded) {
    if (form_.name != "ddp")
      throw ConfigError(
          fmt::format("strategy {} with a custom optimizer, which needs whole parameters and gradients on every rank", form_.name),
          "use strategy ddp, or one of Levin's optimizers", "parallel");
    if (const auto share = form_.options.share_parameters; must_share(share))
      throw ConfigError(
          fmt::format("share_parameters: {} with a custom optimizer, which needs whole gradients on every rank", enum_name(share)),
          "use share_parameters: auto or none", "parallel");
    form_.take_private_form(making_->places);
    find_ranks();
  }
  for (auto& item : module.named_buffers()) {
    if (!item.value().is_contiguous()) item.value().set_data(item.value().contiguous());
    buffers_.push_back({item.key(), item.value()});
  }
  for (const auto& [name, slot] : buffer_slots(module))
    if (!slot->defined()) undefined_at_setup_.push_back(name);
  making_->tree = detail::UnitTree(module, form_.options.min_num_params);
  gradient_scale_ = 1;
  make_groups();
  run_units();
  broadcast_buffers();
}

// Before anything is allocated: a rank that the system ends for its memory says nothing.
void Strategy::see_to_memory(const std::vector<ParameterInfo>& infos, const std::vector<Tensor>& parameters) {
  const detail::MemoryCheck check(detail::plan_model(infos, specs_, making_->tree), form_, making_->places, alignment_bytes_);
  const int64_t there = detail::memory_of_every_node(parameters, check.ranks_of_node(), making_->free_memory, communicator_->host());
  if (there >= check.needed()) return;
  const auto other = check.strategy_within(there);
  const bool custom = std::any_of(specs_.begin(), specs_.end(), [](const auto& spec) { return spec.factory != nullptr; });
  if (!making_->automatic || !other || custom) check.refuse(there, custom ? std::nullopt : other);
  if (communicator_->rank() == 0)
    log_.info("[parallel] {} needs {} on a node, and {} are free: auto takes {}, which needs {}", form_.describe(),
              bytes_text(check.needed()), bytes_text(there), other->name, bytes_text(other->needed));
  form_ = other->form;
  find_ranks();
}

void Strategy::make_groups() {
  const auto [infos, options] = detail::parameter_infos(parameters_, specs_, making_->tree, [this](const Tensor& tensor) {
    return parked(tensor) ? making_->parked->dtype_of(tensor) : tensor.scalar_type();
  });
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < infos.size(); i++) {
    tensors.push_back(parameters_[i].tensor);
    making_->unit_of_parameter.push_back(static_cast<size_t>(infos[i].unit));
  }
  if (communicator_->device().is_cpu()) see_to_memory(infos, tensors);
  std::vector<GroupLayout> layout;
  std::vector<GroupMemory> memory;
  do {  // twice where shared memory is too small
    layout = make_layout(infos, {.ranks = communicator_->size(), .alignment_bytes = alignment_bytes_, .by_unit = form_.by_unit()});
    memory = allocate(layout);
  } while (memory.size() < layout.size());
  std::vector<std::string> subjects;
  for (const auto& unit : making_->tree.units)
    subjects.push_back(unit.name.empty() ? "the root unit" : fmt::format("unit \"{}\"", unit.name));
  making_->ranks.shard->name_subjects(subjects);
  InitialValues values;
  if (making_->parked)
    values = [this](const Tensor& parameter, const Tensor& place) {
      if (making_->parked->has(parameter)) return making_->parked->take(parameter, place);
      place.copy_(parameter);
      communicator_->broadcast(place, 0).wait();
    };
  groups_.reserve(layout.size());
  for (size_t i = 0; i < layout.size(); i++) {
    const int unit = layout[i].unit;
    FlatGroup::Setup setup{.ranks = making_->ranks,
                           .lifetimes = form_.of_unit(unit),
                           .reduce_dtype = form_.options.reduce_dtype,
                           .offload_optimizer = form_.options.offload_optimizer,
                           .name = subjects[static_cast<size_t>(unit)],
                           .subject = unit + 1,
                           .meter = &meter_,
                           .parameter_names = &making_->parameter_names};
    groups_.emplace_back(std::move(layout[i]), std::move(memory[i]), tensors, std::move(setup), values);
  }
  making_->parked.reset();
  for (size_t i = 0; i < std::max<size_t>(1, specs_.size()); i++) {
    std::vector<FlatGroup*> its_groups;
    for (auto& group : groups_)
      if (static_cast<size_t>(group.layout().optimizer) == i) its_groups.push_back(&group);
    optimizers_.emplace_back(specs_.empty() ? nullptr : &specs_[i], std::move(its_groups), parameters_, options);
  }
}

// Units are run where their parameters come and go, or reductions wait for what they repeat.
void Strategy::run_units() {
  const bool early = reduces_early(*communicator_), sharded = form_.lifetimes.gradients == Hold::sharded;
  if (!early && !sharded) return;
  const auto most = static_cast<size_t>(form_.options.limit_all_gathers);
  running_->runners = std::make_unique<detail::UnitRunners>(detail::UnitRunners::Options{
      form_.options.reshard_after_forward, early ? std::min(static_cast<size_t>(form_.options.prefetch), most) : 0});
  std::vector<detail::UnitRunner*> runners{nullptr};
  for (size_t unit = 1; unit < making_->tree.units.size(); unit++) {
    std::vector<FlatGroup*> its_groups;
    for (auto& group : groups_)
      if (form_.by_unit() && group.layout().unit == static_cast<int>(unit)) its_groups.push_back(&group);
    runners.push_back(running_->runners->add(making_->tree.units[unit].unit, std::move(its_groups)));
  }
  std::vector<detail::Overlap::Member> members;
  for (auto& group : groups_) {
    const auto unit = form_.by_unit() ? static_cast<size_t>(group.layout().unit) : 0;
    members.push_back({&group, runners[unit], {}});
    for (size_t other = 1; other < runners.size(); other++)
      if (making_->tree.concerns(other, unit)) members.back().repeated.push_back(runners[other]);
  }
  running_->overlap = std::make_unique<detail::Overlap>(std::move(members), early ? 1 : 0);
  running_->runners->set_overlap(running_->overlap.get(), [this] { running_->overlap->look_again(); });
}

bool Strategy::holds(const torch::nn::Module& module) const {
  if (groups_.empty()) return false;
  const auto theirs = detail::parameters_of(module);
  return std::equal(theirs.begin(), theirs.end(), parameters_.begin(), parameters_.end(),
                    [](const NamedParameter& one, const NamedParameter& other) { return one.tensor.is_same(other.tensor); });
}

std::vector<GroupMemory> Strategy::allocate(const std::vector<GroupLayout>& layout) {
  const auto when_short = form_.options.share_parameters == ShareParameters::automatic ? WhenShort::return_null : WhenShort::fail;
  std::vector<GroupMemory::Wanted> wanted;
  std::vector<size_t> passing;
  for (const auto& group : layout) {
    auto compute = group.dtype;
    if (form_.options.param_dtype && c10::isFloatingType(compute)) compute = scalar_type_of(*form_.options.param_dtype);
    wanted.push_back({form_.of_unit(group.unit), compute, form_.options.offload_parameters, passing.size()});
    if (form_.lifetimes.gathers_once && wanted.back().lifetimes.parameters == Hold::sharded)
      passing.push_back(static_cast<size_t>(group.numel) * c10::elementSize(compute));
  }
  auto& pools = *making_->pools;
  pools.passing = passing.empty() ? nullptr : allocate_passing(passing, *communicator_, when_short);
  std::vector<GroupMemory> memory;
  for (size_t i = 0; i < layout.size() && (passing.empty() || pools.passing); i++) {
    auto one = GroupMemory::allocate(layout[i], wanted[i], making_->ranks, pools, meter_, when_short);
    if (!one) break;
    memory.push_back(std::move(*one));
  }
  if (memory.size() == layout.size()) return memory;
  log_.warning(
      "[parallel] shared memory has no room for what a node's ranks would share of the parameters and gradients; each rank takes memory of "
      "its own: enlarge /dev/shm for speed, or set share_parameters: none");
  form_.take_private_form(making_->places);
  find_ranks();
  memory.clear();
  meter_ = {};
  return {};
}

}  // namespace levin
