#include "levin/trainer/session.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <thread>

#include "levin/core/error.h"
#include "levin/optim/torch_optimizer.h"
#include "levin/trainer/module.h"

namespace levin {
namespace {

at::ScalarType dtype_of(Precision precision) { return precision == Precision::float64 ? at::kDouble : at::kFloat; }

// A rank's share of the cores that it may use, when several ranks of its host may use the same ones.
int64_t fair_threads(const Topology& topology) {
  const auto& self = topology.self();
  const auto sharing = std::count_if(topology.places().begin(), topology.places().end(),
                                     [&](const RankPlace& place) { return place.host == self.host && place.cores == self.cores; });
  return std::max<int64_t>(1, static_cast<int64_t>(self.cores.size()) / std::max<int64_t>(1, sharing));
}

// splitmix64: neighbouring counters give unrelated seeds.
uint64_t mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

}  // namespace

Session::Session(MpiRuntime& runtime, const SessionConfig& config, uint64_t seed, const AcceleratorRegistry& accelerators)
    : runtime_(&runtime),
      config_(config),
      seed_(seed),
      topology_(Topology::discover(runtime)),
      accelerator_(accelerators.create(config.accelerator)),
      device_(accelerator_->device(topology_.self().local_rank, topology_.local_size())),
      communicator_(accelerator_->communicator(runtime, config.window_directory)),
      strategy_(Strategy::create(config.strategy, *communicator_, accelerator_->alignment_bytes(), runtime.log())) {
  check_config(config_);
  at::set_num_threads(static_cast<int>(config_.num_threads > 0 ? config_.num_threads : fair_threads(topology_)));
}

Session::~Session() = default;

std::unique_ptr<BuildContext> Session::start_build() {
  accelerator_->seed(seed_);
  return strategy_->open_build_context();
}

void Session::setup(Module& module) { setup(module, module.configure_optimizers()); }

void Session::setup(torch::nn::Module& module, const std::vector<OptimizerSpec>& optimizers) {
  if (optimizers.size() > 1)
    throw UsageError("trainer", fmt::format("configure_optimizers gave {} optimizers", optimizers.size()),
                     "give one: several need manual optimization, which this version does not have");
  optimizers_ = optimizers;
  plateau_ = {};
  for (const auto& spec : optimizers_)
    if (spec.lr_scheduler) std::visit([](const auto& schedule) { check_config(schedule); }, *spec.lr_scheduler);
  module.to(device_, dtype_of(config_.precision));
  strategy_->setup(module, optimizers_.empty() ? nullptr : &optimizers_.front());
}

void Session::receive(Batch& batch) const {
  for (const auto& [name, tensor] : batch.tensors()) {
    const bool convert = tensor.is_floating_point() && tensor.scalar_type() != dtype_of(config_.precision);
    if (convert || tensor.device() != device_)
      batch.set(name, tensor.to(device_, convert ? dtype_of(config_.precision) : tensor.scalar_type()));
  }
}

void Session::seed_micro_batch(int64_t micro_batch) {
  const auto counter = [](int64_t value) { return static_cast<uint64_t>(value); };
  accelerator_->seed(mix(mix(mix(mix(seed_) ^ counter(rank())) ^ counter(progress_.step)) ^ counter(micro_batch)));
}

void Session::backward(const Tensor& loss, double weight) { strategy_->backward(loss, weight); }

bool Session::reduce() {
  const StepTotals totals = strategy_->meet(wanted_);
  agreed_ |= totals.signals;
  if (!(totals.weight > 0)) {
    strategy_->drop_step();
    return false;
  }
  strategy_->reduce(totals);
  return true;
}

void Session::clip_gradients() {
  if (!config_.gradient_clip_val) return;
  if (config_.gradient_clip_algorithm == ClipAlgorithm::value) {
    strategy_->clip_by_value(*config_.gradient_clip_val);
  } else {
    grad_norm_ = strategy_->grad_norm();
    strategy_->clip_by_norm(grad_norm_, *config_.gradient_clip_val);
  }
}

double Session::scheduled(double lr) const {
  if (optimizers_.empty() || !optimizers_.front().lr_scheduler) return lr;
  return scheduled_lr(*optimizers_.front().lr_scheduler, lr, progress_, plateau_);
}

void Session::update() {
  strategy_->update([this](double lr) { return scheduled(lr); });
  progress_.step++;
}

bool Session::step() {
  if (!reduce()) return false;
  clip_gradients();
  update();
  zero_grad();
  return true;
}

double Session::learning_rate() const {
  if (optimizers_.empty()) return 0;
  const auto& spec = optimizers_.front();
  return scheduled(spec.factory ? strategy_->segment_options().front().lr : base_lr(spec.optimizer));
}

std::vector<OptimizerValues> Session::optimizer_values() const {
  if (optimizers_.empty()) return {};
  const auto& spec = optimizers_.front();
  const bool known = !spec.factory;
  OptimizerValues values{.name = known ? optimizer_name(spec.optimizer) : strategy_->custom_optimizer()->name(), .known = known};
  if (spec.lr_scheduler) values.interval = interval_of(*spec.lr_scheduler);
  for (const auto& [lr, weight_decay] : strategy_->segment_options()) {
    OptimizerValues::Group group{.lr = scheduled(lr)};
    if (known) group.momentum = base_momentum(spec.optimizer), group.weight_decay = weight_decay;
    values.groups.push_back(group);
  }
  return {values};
}

void Session::look_at(Interval moment, const NamedValues& values) {
  if (optimizers_.empty() || !optimizers_.front().lr_scheduler) return;
  const auto* schedule = std::get_if<ReduceLROnPlateau>(&*optimizers_.front().lr_scheduler);
  if (!schedule || schedule->interval != moment) return;
  if ((moment == Interval::step ? progress_.step : progress_.epoch) % schedule->frequency != 0) return;
  if (const double* value = find_value(values, schedule->monitor)) {
    plateau_ = look(*schedule, plateau_, *value);
  } else if (schedule->strict) {
    std::string known;
    for (const auto& [name, one] : values) known += (known.empty() ? "" : ", ") + name;
    throw ConfigError(fmt::format("a plateau schedule monitors \"{}\", which was not logged", schedule->monitor),
                      known.empty() ? "log it" : "monitor one of those that were: " + known, "trainer");
  }
}

}  // namespace levin
