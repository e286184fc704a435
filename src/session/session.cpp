#include "levin/session/session.h"

#include <ATen/Parallel.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <utility>

#include "levin/comm/node_group.h"
#include "levin/comm/thread_count.h"
#include "levin/core/error.h"
#include "levin/core/mix_seed.h"
#include "levin/core/profile_range.h"
#include "levin/core/text.h"
#include "levin/nn/sync_batch_norm.h"
#include "levin/optim/torch_optimizer.h"
#include "levin/parallel/sharding_plan.h"
#include "levin/plan/memory_check.h"
#include "levin/session/monitored_value.h"

namespace levin {
namespace {

// Of a value logged by step and by epoch, the part that the schedule counts in.
const double* find_plateau_value(const NamedValues& values, const ReduceLROnPlateau& schedule) {
  const double* value = find_value(values, schedule.monitor);
  return value ? value : find_value(values, forked_name(schedule.monitor, schedule.interval));
}

void check_monitored(const ReduceLROnPlateau& schedule, const NamedValues& logged) {
  if (!schedule.strict || find_plateau_value(logged, schedule)) return;
  const std::string known = names_of(logged);
  throw ConfigError(fmt::format("a plateau schedule monitors \"{}\", which was not logged", schedule.monitor),
                    known.empty() ? "log it" : "monitor one of those that were: " + known, "session");
}

// Before anything collective.
const SessionConfig& checked(const SessionConfig& config) {
  check_config(config);
  return config;
}

CommunicatorOptions communicator_options(const SessionConfig& config) {
  // Longer ones than this mean no limit.
  constexpr double longest = 1e9;
  const auto timeout = std::chrono::duration<double>(std::min(config.comm_timeout.value, longest));
  return {config.window_directory, std::chrono::ceil<std::chrono::milliseconds>(timeout)};
}

// Where parameters are shared by NUMA domain, and a host has several: a communicator whose ranks share memory in a domain.
std::unique_ptr<Communicator> by_numa_domain(const StrategyConfig& strategy, MpiRuntime& runtime, const Topology& topology,
                                             Communicator& communicator) {
  if (share_parameters_of(strategy) != ShareParameters::numa || !communicator.node()) return nullptr;
  const auto& locations = topology.locations();
  const auto unbound =
      std::find_if(locations.begin(), locations.end(), [](const RankLocation& location) { return location.numa_domain < 0; });
  if (unbound != locations.end())
    throw ConfigError(
        fmt::format("share_parameters: numa, and rank {} may run on cores of several NUMA domains", unbound - locations.begin()),
        "bind ranks to cores or domains (mpirun --bind-to core, srun --cpu-bind=cores), or use share_parameters: node", "session");
  return Communicator::create_in_parts(runtime, communicator, topology.self().numa_domain);
}

}  // namespace

Session::Session(MpiRuntime& runtime, const SessionConfig& config, uint64_t seed, const AcceleratorRegistry& accelerators,
                 const ModelParallel& model_parallel)
    : runtime_(&runtime),
      config_(checked(config)),
      seed_(seed),
      topology_(Topology::discover(runtime)),
      chosen_(choose_device(accelerators, config.accelerator, runtime, topology_)),
      communicator_(accelerator().communicator(runtime, communicator_options(config), device())),
      domains_(by_numa_domain(config.strategy, runtime, topology_, *communicator_)),
      mesh_(std::make_unique<Mesh>(domains_ ? *domains_ : *communicator_, model_parallel)),
      strategy_(Strategy::create(config.strategy, *mesh_, accelerator().alignment_bytes(), runtime.log(),
                                 check_planned_memory(domains_ ? &available_memory_of_domain : &available_memory, runtime.log()),
                                 autocast_dtype(config.precision))),
      scaling_(config, *strategy_, runtime),
      exceptions_(std::uncaught_exceptions()) {
  if (const auto why = device().is_cpu() ? slow_because(config_.precision, CpuFeatures::of_this_one()) : ""; !why.empty() && rank() == 0)
    runtime.log().warning("[session] precision {} will be slower than 32-true: {}", enum_name(config_.precision), why);
  const ThreadCount count = choose_threads(config_.num_threads, topology_, [](const char* name) { return std::getenv(name); });
  runtime.log().info("{} {} per rank: {}", count.threads, count.threads == 1 ? "thread" : "threads", count.reason);
  at::set_num_threads(static_cast<int>(count.threads));
  if (!config_.sync_batchnorm) return;
  if (config_.activation_checkpointing != ActivationCheckpointing::none && !device().is_cpu())
    throw ConfigError("sync_batchnorm with activation_checkpointing on a device", "leave out one of the two", "session");
  if (mesh_->data().size() > 1) sync_batch_norm_ = std::make_unique<SyncBatchNorm>(mesh_->data_communicator());
}

Session::~Session() {
  if (std::uncaught_exceptions() > exceptions_) communicator_->abort("an exception left the scope of its Session");
}

FlightRecord& Session::flight() noexcept { return communicator_->cpu().node()->flight(); }

std::unique_ptr<BuildContext> Session::start_build() {
  accelerator().seed(seed_);
  return strategy_->open_build_context(parameter_dtype(config_.precision));
}

void Session::setup(torch::nn::Module& module, std::vector<OptimizerSpec> optimizers) {
  specs_ = std::move(optimizers);
  optimizer_names_ = levin::optimizer_names(specs_);
  plateaus_.assign(specs_.size(), {});
  for (const auto& spec : specs_) {
    const auto check = [](const auto& config) { check_config(config); };
    std::visit(check, spec.optimizer);
    if (spec.lr_scheduler) std::visit(check, *spec.lr_scheduler);
  }
  const auto move = [&](Tensor& tensor) {  // Module::to makes numbers of whole ones, such as counters
    const auto dtype = tensor.is_floating_point() ? parameter_dtype(config_.precision) : tensor.scalar_type();
    tensor.set_data(tensor.to(device(), dtype));
  };
  for (auto& parameter : module.parameters())
    if (!strategy_->deferred(parameter)) move(parameter);
  for (auto& buffer : module.buffers()) move(buffer);
  strategy_->setup(module, specs_);
  if (config_.activation_checkpointing != ActivationCheckpointing::none)
    strategy_->checkpoint_activations(config_.activation_checkpointing);
  scaling_.begin(specs_);
}

size_t Session::optimizer_index(std::string_view name) const {
  const auto found = std::find(optimizer_names_.begin(), optimizer_names_.end(), name);
  if (found == optimizer_names_.end())
    throw UsageError("session", fmt::format("unknown optimizer \"{}\"", name), "choose one of: " + joined(optimizer_names_));
  return static_cast<size_t>(found - optimizer_names_.begin());
}

void Session::receive(Batch& batch) const {
  const auto dtype = parameter_dtype(config_.precision);
  for (const auto& [name, tensor] : batch.tensors()) {
    const bool convert = tensor.is_floating_point() && tensor.scalar_type() != dtype;
    const bool move = tensor.device() != device();
    if (!convert && !move) continue;
    // The copy in pinned memory is LibTorch's, which keeps it until the device has it: the host waits for nothing. What was pinned before
    // may be its owner's to use again when this call returns.
    const bool pin = move && device().is_cuda() && !tensor.is_pinned();
    batch.set(name, (pin ? tensor.pin_memory() : tensor).to(device(), convert ? dtype : tensor.scalar_type(), /*non_blocking=*/pin));
  }
}

void Session::seed_micro_batch(int64_t micro_batch) {
  const auto counter = [](int64_t value) { return static_cast<uint64_t>(value); };
  accelerator().seed(
      mix_seed(mix_seed(mix_seed(mix_seed(seed_) ^ counter(mesh_->seed_rank())) ^ counter(progress_.step)) ^ counter(micro_batch)));
}

void Session::seed_evaluation(int64_t dataloader_idx, int64_t batch_idx) {
  constexpr uint64_t evaluation = 0x6576616cu;  // not the numbers of a training
  const auto counter = [](int64_t value) { return static_cast<uint64_t>(value); };
  const auto of_rank = mix_seed(mix_seed(mix_seed(seed_ ^ evaluation) ^ counter(mesh_->seed_rank())) ^ counter(progress_.step));
  accelerator().seed(mix_seed(mix_seed(of_rank ^ counter(dataloader_idx)) ^ counter(batch_idx)));
}

void Session::backward(const Tensor& loss, double weight) {
  if (sync_batch_norm_ && !SyncBatchNorm::Scope::is_open())
    throw UsageError("session", "sync_batchnorm is true, and backward is called outside of a SyncBatchNorm::Scope",
                     "open one around forward and backward: SyncBatchNorm::Scope scope(session.sync_batch_norm(), model, weight == 0)");
  const auto off = no_autocast();  // the graph has its dtypes
  strategy_->backward(loss, weight);
}

bool Session::reduce(size_t optimizer, Accumulation accumulation) {
  const ProfileRange range(RangeKind::phase, "reduce");
  const auto off = no_autocast();
  const StepTotals totals = strategy_->synchronize_step(local_requests(), optimizer);
  set_agreed(totals.signals);
  if (!(totals.weight > 0)) {
    strategy_->zero_grad(optimizer);
    return false;
  }
  strategy_->reduce(totals, optimizer, accumulation);
  scaling_.expect_weight(totals.weight / mesh_->loss().size());
  scaling_.check_finite(optimizer, progress_.step);
  return true;
}

void Session::clip_gradients(size_t optimizer, std::optional<double> gradient_clip_val, ClipAlgorithm algorithm) {
  if (!gradient_clip_val || *gradient_clip_val == 0) return;
  if (!(*gradient_clip_val > 0))
    throw ConfigError(fmt::format("gradient_clip_val is {}", *gradient_clip_val), "give a positive limit; 0 or null: no clipping",
                      "session");
  const auto off = no_autocast();
  if (algorithm == ClipAlgorithm::value) {
    strategy_->clip_by_value(*gradient_clip_val, optimizer);
  } else {
    grad_norm_ = strategy_->grad_norm(optimizer);
    strategy_->clip_by_norm(grad_norm_, *gradient_clip_val, optimizer);
  }
}

double Session::scheduled(size_t optimizer, double lr) const {
  if (rate_override_) return rate_override_(lr);
  const auto& schedule = specs_[optimizer].lr_scheduler;
  return schedule ? scheduled_lr(*schedule, lr, progress_, plateaus_[optimizer]) : lr;
}

void Session::update(size_t optimizer) {
  const auto off = no_autocast();
  const bool skip = scaling_.skips(optimizer);
  if (!skip)
    strategy_->update([&](double lr) { return specs_.empty() ? lr : scheduled(optimizer, lr); }, optimizer,
                      scaling_.skip_on_device(optimizer));
  scaling_.end_update(optimizer, skip, progress_.step);
}

bool Session::step() {
  if (specs_.size() > 1)
    throw UsageError("session", fmt::format("a step of {} optimizers in one call", specs_.size()),
                     "reduce, clip, update and zero_grad each of them, then count_step");
  if (!reduce()) return false;
  clip_gradients();
  update();
  zero_grad();
  count_step();
  return true;
}

double Session::learning_rate(size_t optimizer) const { return specs_.empty() ? 0 : scheduled(optimizer, strategy_->base_lr(optimizer)); }

std::vector<OptimizerValues> Session::optimizer_values() const {
  std::vector<OptimizerValues> all;
  for (size_t i = 0; i < specs_.size(); i++) {
    const auto& spec = specs_[i];
    const bool known = !spec.factory;
    const std::string kind = known ? optimizer_name(spec.optimizer) : strategy_->custom_optimizer(i)->name();
    OptimizerValues values{.name = spec.name.empty() ? kind : spec.name, .known = known};
    if (spec.lr_scheduler) values.interval = interval_of(*spec.lr_scheduler);
    for (const auto& [lr, weight_decay] : strategy_->parameter_group_options(i)) {
      OptimizerValues::Group group{.lr = scheduled(i, lr)};
      if (known) group.momentum = base_momentum(spec.optimizer), group.weight_decay = weight_decay;
      values.groups.push_back(group);
    }
    all.push_back(std::move(values));
  }
  return all;
}

const ReduceLROnPlateau* Session::plateau_schedule(size_t optimizer) const {
  const auto& chosen = specs_[optimizer].lr_scheduler;
  return chosen ? std::get_if<ReduceLROnPlateau>(&*chosen) : nullptr;
}

bool Session::monitors_steps() const {
  for (size_t i = 0; i < specs_.size(); i++)
    if (const auto* schedule = plateau_schedule(i);
        schedule && schedule->interval == Interval::step && progress_.step % schedule->frequency == 0)
      return true;
  return false;
}

void Session::note_values(const NamedValues& values) {
  for (size_t i = 0; i < specs_.size(); i++)
    if (const auto* schedule = plateau_schedule(i))
      if (const double* value = find_plateau_value(values, *schedule)) plateaus_[i].waiting = *value;
}

std::vector<std::string> Session::required_values() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < specs_.size(); i++)
    if (const auto* schedule = plateau_schedule(i); schedule && schedule->strict) names.push_back(schedule->monitor);
  return names;
}

void Session::check_monitors(const NamedValues& logged) const {
  for (size_t i = 0; i < specs_.size(); i++)
    if (const auto* schedule = plateau_schedule(i)) check_monitored(*schedule, logged);
}

void Session::step_schedulers(Interval interval, const NamedValues* logged) {
  for (size_t i = 0; i < specs_.size(); i++) {
    const auto* schedule = plateau_schedule(i);
    if (!schedule || schedule->interval != interval) continue;
    if ((interval == Interval::step ? progress_.step : progress_.epoch) % schedule->frequency != 0) continue;
    if (const auto value = std::exchange(plateaus_[i].waiting, std::nullopt)) {
      plateaus_[i] = observe(*schedule, plateaus_[i], *value);
    } else if (logged) {
      check_monitored(*schedule, *logged);
    }
  }
}

}  // namespace levin
