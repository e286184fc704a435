#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "levin/comm/mesh.h"
#include "levin/core/error.h"
#include "levin/core/heap.h"
#include "levin/nn/module_buffers.h"
#include "levin/nn/unit.h"
#include "model_checks.h"
#include "strategy_engine.h"

namespace levin {

Strategy::Engine::Engine(Mesh& over, int64_t alignment, Log logger, MemoryCheck memory_check)
    : mesh(&over),
      communicator(&over.loss_communicator()),
      alignment_bytes(alignment),
      log(std::move(logger)),
      check(std::move(memory_check)),
      ranks(over),
      pools(std::make_unique<BufferPools>(meter)),
      actions(groups, ranks) {
  make_schedule({}, {});
}

class Strategy::Collector : public BuildContext {
 public:
  explicit Collector(Engine& engine) : engine_(engine) {
    if (engine_.deferred) heap_.emplace();
  }
  void adopt(const std::shared_ptr<UnitBase>& unit) override {
    engine_.units.push_back(unit);
    if (engine_.deferred) engine_.deferred->shard(*unit);
  }

 private:
  Engine& engine_;
  std::optional<HeapGivesBack> heap_;  // the memory of finished units returns to the system
};

std::unique_ptr<Strategy> Strategy::create(const StrategyConfig& config, Communicator& communicator, int64_t alignment_bytes, Log log,
                                           MemoryCheck check, std::optional<c10::ScalarType> autocast_dtype) {
  auto mesh = std::make_unique<Mesh>(communicator);
  auto strategy = create(config, *mesh, alignment_bytes, std::move(log), std::move(check), autocast_dtype);
  strategy->engine_->own_mesh = std::move(mesh);
  return strategy;
}

std::unique_ptr<Strategy> Strategy::create(const StrategyConfig& config, Mesh& mesh, int64_t alignment_bytes, Log log, MemoryCheck check,
                                           std::optional<c10::ScalarType> autocast_dtype) {
  auto engine = std::make_unique<Engine>(mesh, alignment_bytes, std::move(log), std::move(check));
  engine->automatic = std::holds_alternative<AutoStrategy>(config);
  engine->use_plan(resolve_strategy(config, engine->ranks.ranks(), autocast_dtype));
  return std::unique_ptr<Strategy>(new Strategy(std::move(engine)));
}

void Strategy::Engine::use_plan(ShardingPlan next) {
  plan = std::move(next);
  ranks.split(plan);
}

std::unique_ptr<BuildContext> Strategy::open_build_context(std::optional<c10::ScalarType> dtype) {
  auto& engine = *engine_;
  auto& shard = *engine.ranks.communicators().shard;
  if (engine.plan.by_unit() && shard.size() > 1 && !engine.deferred)  // a model may be built in several contexts
    engine.deferred = std::make_unique<detail::DeferredShards>(shard, dtype);
  return std::make_unique<Collector>(engine);
}

bool Strategy::deferred(const Tensor& parameter) const { return engine_->deferred && engine_->deferred->has(parameter); }

bool Strategy::holds(const torch::nn::Module& module) const {
  if (engine_->groups.empty()) return false;
  const auto registered = detail::parameters_of(module);
  const auto& held = engine_->parameters;
  return std::equal(registered.begin(), registered.end(), held.begin(), held.end(),
                    [](const NamedParameter& a, const NamedParameter& b) { return a.tensor.is_same(b.tensor); });
}

bool Strategy::Engine::has_custom_optimizer() const {
  return std::any_of(specs.begin(), specs.end(), [](const auto& spec) { return spec.factory != nullptr; });
}

void Strategy::setup(torch::nn::Module& module, std::vector<OptimizerSpec> optimizers) {
  auto& engine = *engine_;
  toggle(std::nullopt);
  engine.discard(module);
  if (engine.automatic) engine.use_plan(resolve_strategy(AutoStrategy{}, engine.ranks.ranks(), engine.plan.autocast_dtype));
  engine.specs = std::move(optimizers);
  engine.parameters = detail::parameters_of(module);
  detail::check_same_model(module, *engine.communicator);
  detail::check_supported(module, /*trained=*/!engine.specs.empty());
  engine.module = module.weak_from_this();
  engine.searched.assign(std::max<size_t>(1, engine.specs.size()), 0);
  engine.resolve_custom_optimizer();
  engine.adopt_buffers(module);
  engine.make_groups(module);
  broadcast_buffers();
}

// Sharded parameters of the same module are made whole again, for the coming setup.
void Strategy::Engine::discard(const torch::nn::Module& next) {
  gradient_hooks.reset();
  unit_hooks.clear();
  schedule->reshard_all();
  const auto last = module.lock();
  for (auto& group : groups) {
    auto& store = group.store();
    if (!store.reshards() || last.get() != &next) continue;
    store.start_unshard(), store.finish_unshard();
    for (const auto& member : group.members()) member.set_data(member.detach().clone());
    store.reshard();
  }
  optimizers.clear(), groups.clear(), parameters.clear(), unit_of_parameter.clear(), buffers.clear(), undefined_buffers.clear();
  pools.reset();
  meter = {};
  pools = std::make_unique<BufferPools>(meter);
  make_schedule({}, {});
  expected.clear();
  gradient_scale = {};
  backward_done = warned_of_absent = false;
}

void Strategy::Engine::resolve_custom_optimizer() {
  if (!has_custom_optimizer()) return;
  if (plan.options.offload_optimizer && !communicator->device().is_cpu())
    throw ConfigError("offload_optimizer with a custom optimizer, which updates parameters and keeps its state on their device",
                      "leave offload_optimizer out, or use one of Levin's optimizers", "parallel");
  if (!plan.shards_updates()) return;
  if (plan.name != "ddp")
    throw ConfigError(
        fmt::format("strategy {} with a custom optimizer, which needs whole parameters and gradients on every rank", plan.name),
        "use strategy ddp, or one of Levin's optimizers", "parallel");
  if (const auto share = plan.options.share_parameters; must_share(share))
    throw ConfigError(
        fmt::format("share_parameters: {} with a custom optimizer, which needs whole gradients on every rank", enum_name(share)),
        "use share_parameters: auto or none", "parallel");
  auto next = plan;
  next.make_private(ranks.ranks());
  use_plan(std::move(next));
}

void Strategy::Engine::adopt_buffers(torch::nn::Module& next) {
  for (auto& item : next.named_buffers()) {
    if (!item.value().is_contiguous()) item.value().set_data(item.value().contiguous());
    buffers.push_back({item.key(), item.value()});
  }
  for (const auto& [name, slot] : buffer_slots(next))
    if (!slot->defined()) undefined_buffers.push_back(name);
}

// Before anything is allocated: a rank that the system kills for its memory reports nothing.
void Strategy::Engine::check_memory(const ModelShape& model) {
  if (!check || !communicator->device().is_cpu()) return;
  AllocationRequest request{.model = model, .plan = plan, .ranks = ranks.ranks(), .alignment_bytes = alignment_bytes};
  for (const auto& [name, tensor] : parameters)
    request.held_bytes += static_cast<int64_t>(std::min(tensor.storage().nbytes(), tensor.nbytes()));
  request.may_change_plan = automatic;
  request.can_shard_updates = !has_custom_optimizer();
  auto checked = check(request, communicator->cpu());
  if (checked.name != plan.name || checked.placements != plan.placements) use_plan(std::move(checked));
}

std::vector<GroupStorage> Strategy::Engine::allocate(const ModelShape& model, std::vector<GroupLayout>& layout,
                                                     std::vector<GroupSharding>& sharding) {
  const auto on_no_space = plan.options.share_parameters == ShareParameters::automatic ? OnNoSpace::return_null : OnNoSpace::fail;
  std::vector<std::string> labels;
  for (const auto& unit : tree.units) labels.push_back(unit.name.empty() ? "the root unit" : fmt::format("unit \"{}\"", unit.name));
  for (;;) {  // twice where shared memory is too small
    layout = make_layout(model.parameters, layout_options(plan, alignment_bytes));
    sharding.clear();
    for (const auto& group : layout) sharding.push_back(shard_group(group, plan, ranks.ranks()));
    const FactoryOptions options{plan.options.offload_parameters, on_no_space, labels, arena_slots(plan, ranks.ranks())};
    auto storage = allocate_groups(layout, sharding, ranks, *pools, meter, options);
    if (storage.size() == layout.size()) return storage;
    log.warning(
        "[parallel] shared memory has no room for what a node's ranks would share of the parameters and gradients; each rank takes private "
        "memory: enlarge /dev/shm for speed, or set share_parameters: none");
    auto next = plan;
    next.make_private(ranks.ranks());
    use_plan(std::move(next));
    meter = {};
  }
}

void Strategy::Engine::make_groups(torch::nn::Module& next) {
  tree = detail::UnitTree(next, plan.options.min_num_params);
  const auto [model, group_options] = detail::describe_model(parameters, specs, tree, [this](const Tensor& tensor) {
    return deferred && deferred->has(tensor) ? deferred->dtype_of(tensor) : tensor.scalar_type();
  });
  check_memory(model);
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < parameters.size(); i++) {
    tensors.push_back(parameters[i].tensor);
    unit_of_parameter.push_back(static_cast<size_t>(model.parameters[i].unit));
  }
  std::vector<GroupLayout> layout;
  std::vector<GroupSharding> sharding;
  auto storage = allocate(model, layout, sharding);
  InitialValues values;
  if (deferred)
    values = [this](const Tensor& parameter, const Tensor& target) {
      if (deferred->has(parameter)) return deferred->take(parameter, target);
      target.copy_(parameter);
      communicator->broadcast(target, 0).wait();
    };
  const FlatGroup::Options options{ranks.communicators(), plan.options.offload_optimizer, &meter, &parameters};
  groups.reserve(layout.size());
  for (size_t i = 0; i < layout.size(); i++) groups.emplace_back(std::move(layout[i]), std::move(storage[i]), tensors, options, values);
  deferred.reset();
  make_optimizers(group_options);
  make_schedule(model, sharding);
}

void Strategy::Engine::make_optimizers(const std::vector<ParameterGroupOptions>& group_options) {
  for (size_t i = 0; i < std::max<size_t>(1, specs.size()); i++) {
    std::vector<FlatGroup*> trained_by;
    for (auto& group : groups)
      if (static_cast<size_t>(group.layout().optimizer) == i) trained_by.push_back(&group);
    optimizers.emplace_back(specs.empty() ? nullptr : &specs[i], std::move(trained_by), parameters, group_options);
  }
}

void Strategy::Engine::make_schedule(const ModelShape& model, const std::vector<GroupSharding>& sharding) {
  std::vector<GroupLayout> layout;
  for (const auto& group : groups) layout.push_back(group.layout());
  schedule = std::make_unique<StepSchedule>(StepSchedule::groups_of(layout, sharding), StepSchedule::units_of(model.units),
                                            StepSchedule::options_of(plan, ranks.ranks()), actions);
  if (!schedule->watches()) return;
  for (size_t unit = 1; unit < tree.units.size(); unit++)
    unit_hooks.push_back(std::make_unique<detail::UnitHooks>(*schedule, *tree.units[unit].unit, unit, tree.units[unit].name));
  gradient_hooks = std::make_unique<detail::GradientHooks>(*schedule, groups);
}

}  // namespace levin
