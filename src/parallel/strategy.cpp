#include "levin/parallel/strategy.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/scalar_tensor.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/nn/unit.h"
#include "model_checks.h"
#include "overlap.h"

namespace levin {
namespace {
constexpr const char* private_form = "ddp, a private copy of the parameters a rank";
}

class Strategy::Collector : public BuildContext {
 public:
  explicit Collector(Strategy& strategy) : strategy_(strategy) {}
  void adopt(const std::shared_ptr<UnitBase>& unit) override { strategy_.units_.push_back(unit); }

 private:
  Strategy& strategy_;
};

Strategy::Strategy(Communicator& communicator, int64_t alignment_bytes, Log log)
    : communicator_(&communicator), alignment_bytes_(alignment_bytes), log_(std::move(log)) {}

Strategy::~Strategy() = default;

std::unique_ptr<Strategy> Strategy::create(const StrategyConfig& config, Communicator& communicator, int64_t alignment_bytes, Log log) {
  const bool alone = communicator.size() == 1;
  if (std::holds_alternative<SingleDevice>(config) && !alone)
    throw ConfigError(fmt::format("strategy single_device on {} ranks", communicator.size()),
                      "start one rank, or use --trainer.strategy ddp", "parallel");
  std::unique_ptr<Strategy> strategy(new Strategy(communicator, alignment_bytes, std::move(log)));
  if (const auto* ddp = std::get_if<DDP>(&config)) strategy->share_ = ddp->share_parameters;
  const bool possible = communicator.node() != nullptr;
  if (strategy->share_ == ShareParameters::node && !possible)
    throw ConfigError("share_parameters: node, but this accelerator's ranks share no memory", "use share_parameters: auto", "parallel");
  if (alone) {
    strategy->description_ = std::holds_alternative<DDP>(config) ? "ddp, alone" : "single_device";
  } else if (strategy->share_ == ShareParameters::none || !possible) {
    strategy->description_ = private_form;
  } else {
    strategy->description_ = "ddp, one copy of the parameters a node";
    strategy->lifetimes_ = {Hold::shared, Hold::whole, Hold::sharded};
  }
  return strategy;
}

std::unique_ptr<BuildContext> Strategy::open_build_context() { return std::make_unique<Collector>(*this); }

std::vector<double> Strategy::exchange(const std::vector<double>& mine) {
  if (communicator_->size() == 1) return mine;
  std::vector<double> all(mine.size() * static_cast<size_t>(communicator_->size()));
  auto& host = communicator_->host();
  if (auto* node = host.node(); node && node->size() == host.size()) {
    node->exchange(mine, all);
  } else {
    const auto view = [](const std::vector<double>& values) {
      return at::from_blob(const_cast<double*>(values.data()), {static_cast<int64_t>(values.size())}, at::kDouble);
    };
    host.all_gather(view(all), view(mine)).wait();
  }
  return all;
}

void Strategy::setup(torch::nn::Module& module, std::vector<OptimizerSpec> optimizers) {
  toggle(std::nullopt);
  overlap_.reset();
  optimizers_.clear(), groups_.clear(), parameters_.clear(), buffers_.clear();
  specs_ = std::move(optimizers);
  for (const auto& item : module.named_parameters()) parameters_.push_back({item.key(), item.value()});
  detail::check_same_model(module, *communicator_);
  module_ = module.weak_from_this();
  backward_done_ = warned_of_absent_ = false;
  const bool custom = std::any_of(specs_.begin(), specs_.end(), [](const auto& spec) { return spec.factory != nullptr; });
  if (custom && lifetimes_.optimizer == Hold::sharded) {
    if (share_ == ShareParameters::node)
      throw ConfigError("share_parameters: node with a custom optimizer, which needs whole gradients on every rank",
                        "use share_parameters: auto or none", "parallel");
    take_private_form();
  }
  for (auto& item : module.named_buffers()) {
    if (!item.value().is_contiguous()) item.value().set_data(item.value().contiguous());
    buffers_.push_back({item.key(), item.value()});
  }
  gradient_scale_ = 1;
  make_groups();
  if (reduces_early(*communicator_)) overlap_ = std::make_unique<detail::Overlap>(groups_);
  broadcast_buffers();
}

void Strategy::make_groups() {
  std::vector<SegmentOptions> options;
  std::vector<ParameterInfo> infos;
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : parameters_) {
    const size_t optimizer = specs_.size() > 1 && tensor.requires_grad() ? optimizer_of(specs_, name) : 0;
    const SegmentOptions mine = specs_.empty() ? SegmentOptions{} : options_for(specs_[optimizer], name);
    auto found = std::find(options.begin(), options.end(), mine);
    if (found == options.end()) found = options.insert(options.end(), mine);
    infos.push_back({name, tensor.numel(), tensor.scalar_type(), tensor.requires_grad(), 0, static_cast<int>(found - options.begin()),
                     static_cast<int>(optimizer)});
    tensors.push_back(tensor);
  }
  auto layout = make_layout(infos, {.ranks = communicator_->size(), .alignment_bytes = alignment_bytes_});
  auto memory = allocate(layout);
  groups_.reserve(layout.size());
  for (size_t i = 0; i < layout.size(); i++)
    groups_.emplace_back(std::move(layout[i]), std::move(memory[i]), tensors, lifetimes_, *communicator_);
  for (size_t i = 0; i < std::max<size_t>(1, specs_.size()); i++) {
    std::vector<FlatGroup*> its_groups;
    for (auto& group : groups_)
      if (static_cast<size_t>(group.layout().optimizer) == i) its_groups.push_back(&group);
    optimizers_.emplace_back(specs_.empty() ? nullptr : &specs_[i], std::move(its_groups), parameters_, options);
  }
}

bool Strategy::holds(const torch::nn::Module& module) const {
  if (groups_.empty()) return false;
  const auto theirs = module.parameters();
  return std::equal(theirs.begin(), theirs.end(), parameters_.begin(), parameters_.end(),
                    [](const Tensor& one, const NamedParameter& other) { return one.is_same(other.tensor); });
}

std::vector<GroupMemory> Strategy::allocate(const std::vector<GroupLayout>& layout) {
  std::vector<GroupMemory> memory;
  for (const auto& group : layout) {
    auto one = GroupMemory::allocate(group, lifetimes_, *communicator_,
                                     share_ == ShareParameters::node ? WhenShort::fail : WhenShort::return_null);
    if (!one) break;
    memory.push_back(std::move(*one));
  }
  if (memory.size() == layout.size()) return memory;
  log_.warning(
      "[parallel] shared memory has no room for one copy of the parameters and every rank's gradients; each rank takes a private "
      "copy: enlarge /dev/shm for speed, or set share_parameters: none");
  take_private_form();
  memory.clear();
  return allocate(layout);
}

void Strategy::take_private_form() {
  lifetimes_ = {};
  description_ = private_form;
}

void Strategy::backward(const Tensor& loss, double weight) {
  if (!loss.defined() || loss.numel() != 1 || !loss.requires_grad())
    throw UsageError("parallel",
                     !loss.defined()     ? std::string("the loss is an undefined tensor")
                     : loss.numel() != 1 ? fmt::format("the loss has {} elements, must have one", loss.numel())
                                         : std::string("the loss does not depend on a parameter that requires a gradient"),
                     "return the mean loss over the batch from training_step");
  const auto taking_part = [this](auto&& act) {
    for (size_t i = 0; i < optimizers_.size(); i++)
      if (toggled_.value_or(i) == i) act(optimizers_[i]);
  };
  bool too_late = false;
  taking_part([&](const GroupOptimizer& optimizer) {
    for (const auto* group : optimizer.groups()) too_late = too_late || group->reducing();
  });
  if (too_late)
    throw UsageError("parallel", "a backward after the one that was to be the last of its step",
                     "call expect_step before the last one only");
  // A rank alone needs no common unit of weight: it takes its first micro-batch's, so that one micro-batch is a plain backward.
  const auto fresh = [](const GroupOptimizer& optimizer) { return optimizer.weight() == 0; };
  if (communicator_->size() == 1 && weight > 0 && std::all_of(optimizers_.begin(), optimizers_.end(), fresh)) unit_ = weight;
  const double seed = weight / unit_ * gradient_scale_;
  if (seed == 1)
    loss.backward();
  else
    loss.backward(at::scalar_tensor(seed, loss.options().requires_grad(false)).view(loss.sizes()));
  std::vector<size_t> absent;
  taking_part([&](GroupOptimizer& optimizer) { optimizer.settle(&absent); });
  if (!absent.empty()) look_at_absent(absent, loss);
  backward_done_ = true;
  if (overlap_ && overlap_->begun()) overlap_->end();
  taking_part([&](GroupOptimizer& optimizer) { optimizer.count(weight); });
}

// With several optimizers a backward of one may well leave the parameters of the others out.
void Strategy::look_at_absent(const std::vector<size_t>& absent, const Tensor& loss) {
  const bool suspicious = optimizers_.size() == 1;
  detail::check_not_replaced(parameters_, absent, module_.lock().get(), suspicious ? loss : Tensor());
  if (!suspicious || communicator_->rank() != 0 || !backward_done_ || std::exchange(warned_of_absent_, true)) return;
  log_.warning(
      "[parallel] parameter {} takes no part in the loss any more; where a tensor was assigned to a module's member, write into the "
      "parameter inside write_parameters instead",
      detail::name_and_shape(parameters_[absent.front()]));
}

void Strategy::scale_gradients(double scale) {
  gradient_scale_ = scale;
  for (auto& optimizer : optimizers_) optimizer.scale_gradients(scale);
}

void Strategy::toggle(std::optional<size_t> optimizer) {
  for (const auto& tensor : frozen_) tensor.set_requires_grad(true);
  frozen_.clear();
  toggled_ = optimizer;
  if (!optimizer) return;
  for (size_t i = 0; i < optimizers_.size(); i++)
    for (const auto* group : optimizers_[i].groups())
      if (i != *optimizer && group->trained()) frozen_.insert(frozen_.end(), group->members().begin(), group->members().end());
  for (const auto& tensor : frozen_) tensor.set_requires_grad(false);
}

void Strategy::expect_step(size_t optimizer) {
  if (overlap_) overlap_->begin(optimizers_[optimizer].groups());
}

void Strategy::refuse_other_optimizer(size_t rank, size_t its, size_t ours) const {
  const auto names = optimizer_names(specs_);
  throw UsageError(
      "parallel",
      fmt::format("rank {} takes a step of the optimizer \"{}\", rank {} of \"{}\"", communicator_->rank(), names[ours], rank, names[its]),
      "take the same steps in the same order on all ranks, whatever their data");
}

StepTotals Strategy::meet(uint32_t signals, size_t optimizer) {
  auto& its = optimizers_[optimizer];
  its.settle();  // a rank may have had no backward at all
  its.start_reduce();
  StepTotals totals;
  const auto all = exchange({its.weight(), static_cast<double>(signals), static_cast<double>(optimizer)});
  for (size_t i = 0; i < all.size(); i += 3) {
    totals.weight += all[i];
    totals.signals |= static_cast<uint32_t>(all[i + 1]);
    if (all[i + 2] != static_cast<double>(optimizer)) refuse_other_optimizer(i / 3, static_cast<size_t>(all[i + 2]), optimizer);
  }
  return totals;
}

uint32_t Strategy::agree(uint32_t signals) {
  uint32_t all = 0;
  for (const double one : exchange({static_cast<double>(signals)})) all |= static_cast<uint32_t>(one);
  return all;
}

void Strategy::reduce(const StepTotals& totals, size_t optimizer, Accumulation accumulation) {
  if (!(totals.weight > 0))
    throw UsageError("parallel", fmt::format("a step with a total weight of {}", totals.weight), "skip the step: no rank had a sample");
  auto& its = optimizers_[optimizer];
  const double calls = accumulation == Accumulation::sum ? static_cast<double>(its.backwards()) : 1;
  its.reduce(calls * unit_ / (totals.weight * its.gradient_scale()));
  its.forget_weights();
  its.read_by_peers = lifetimes_.optimizer == Hold::sharded;
}

double Strategy::grad_norm(size_t optimizer) {
  const double mine = optimizers_[optimizer].squared_norm();
  if (lifetimes_.optimizer != Hold::sharded) return std::sqrt(mine);
  double sum = 0;
  for (double part : exchange({mine})) sum += part;
  return std::sqrt(sum);
}

void Strategy::update(const std::function<double(double)>& schedule, size_t optimizer) {
  optimizers_[optimizer].update(schedule, [this](const Tensor& squares) {
    if (lifetimes_.optimizer == Hold::sharded) communicator_->all_reduce(squares).wait();
  });
  if (lifetimes_.optimizer == Hold::sharded) publish_parameters(optimizers_[optimizer].groups());
  optimizers_[optimizer].read_by_peers = false;
}

void Strategy::publish_parameters(const std::vector<FlatGroup*>& groups) {
  if (!on_several_hosts(*communicator_)) {
    communicator_->barrier();
    return;
  }
  std::vector<Work> works;
  for (auto* group : groups)
    if (group->trained()) works.push_back(group->share_parameters());
  for (auto& work : works) work.wait();
}

void Strategy::zero_grad(size_t optimizer) {
  if (std::exchange(optimizers_[optimizer].read_by_peers, false)) communicator_->barrier();  // a step without an update
  optimizers_[optimizer].zero_grad();
  optimizers_[optimizer].forget_weights();
}

void Strategy::write_parameters(const std::function<void(const std::string&, Tensor&)>& fn) {
  std::exception_ptr failure;
  if (lifetimes_.parameters == Hold::shared) communicator_->barrier();  // others may still compute with what is about to change
  if (lifetimes_.parameters != Hold::shared || communicator_->node()->rank() == 0) {
    at::NoGradGuard no_grad;
    try {
      for (auto& [name, tensor] : parameters_) fn(name, tensor);
    } catch (...) {
      failure = std::current_exception();
    }
  }
  const auto failed = exchange({failure ? 1.0 : 0.0});
  if (failure) std::rethrow_exception(failure);
  for (size_t rank = 0; rank < failed.size(); rank++)
    if (failed[rank] != 0)
      throw UsageError("parallel", fmt::format("rank {} failed while it wrote the parameters", rank), "see that rank's message");
}

void Strategy::broadcast_buffers() {
  if (communicator_->size() == 1) return;
  at::NoGradGuard no_grad;
  for (auto& buffer : buffers_) communicator_->broadcast(buffer.tensor, 0).wait();
}

}  // namespace levin
