#include "levin/parallel/strategy.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/scalar_tensor.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "layer_wise_update.h"
#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/nn/unit.h"
#include "levin/optim/clip.h"
#include "levin/optim/torch_optimizer.h"
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

bool Strategy::on_several_hosts() const noexcept {
  const auto* node = communicator_->node();
  return node && node->size() < communicator_->size();
}

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
  if (auto* node = communicator_->node(); node && node->size() == communicator_->size()) {
    node->exchange(mine, all);
  } else {
    const auto view = [](const std::vector<double>& values) {
      return at::from_blob(const_cast<double*>(values.data()), {static_cast<int64_t>(values.size())}, at::kDouble);
    };
    communicator_->all_gather(view(all), view(mine)).wait();
  }
  return all;
}

void Strategy::check_same_model() {
  size_t hash = 0;
  double numel = 0;
  for (const auto& [name, tensor] : parameters_) {
    const auto text =
        fmt::format("{} {} {}", name, fmt::join(tensor.sizes().begin(), tensor.sizes().end(), "x"), static_cast<int>(tensor.scalar_type()));
    hash = hash * 1099511628211u + std::hash<std::string>()(text);
    numel += static_cast<double>(tensor.numel());
  }
  const std::vector<double> mine{static_cast<double>(hash >> 32), static_cast<double>(hash & 0xffffffffu),
                                 static_cast<double>(parameters_.size()), numel};
  const auto all = exchange(mine);
  for (size_t rank = 1; rank < all.size() / 4; rank++)
    if (!std::equal(all.begin(), all.begin() + 4, all.begin() + static_cast<int64_t>(4 * rank)))
      throw UsageError(
          "parallel",
          fmt::format("the ranks built different models: rank 0 has {:.0f} parameters with {:.0f} elements, rank {} has {:.0f} with {:.0f}",
                      all[2], all[3], rank, all[4 * rank + 2], all[4 * rank + 3]),
          "build the same model with the same names, shapes and dtypes on every rank");
}

void Strategy::setup(torch::nn::Module& module, const OptimizerSpec* spec) {
  overlap_.reset();
  groups_.clear(), parameters_.clear(), names_.clear(), options_.clear(), buffers_.clear();
  for (const auto& item : module.named_parameters()) {
    parameters_.push_back({item.key(), item.value()});
    names_.push_back(item.key());
  }
  check_same_model();
  optimizer_ = spec && !spec->factory ? FlatOptimizer::create(spec->optimizer) : nullptr;
  custom_.reset();
  if (spec && spec->factory && lifetimes_.optimizer == Hold::sharded) {
    if (share_ == ShareParameters::node)
      throw ConfigError("share_parameters: node with a custom optimizer, which needs whole gradients on every rank",
                        "use share_parameters: auto or none", "parallel");
    take_private_form();
  }
  for (const auto& buffer : module.buffers()) buffers_.push_back(buffer);

  std::vector<ParameterInfo> infos;
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : parameters_) {
    const SegmentOptions options = spec ? options_for(*spec, name) : SegmentOptions{};
    auto found = std::find(options_.begin(), options_.end(), options);
    if (found == options_.end()) found = options_.insert(options_.end(), options);
    infos.push_back({name, tensor.numel(), tensor.scalar_type(), tensor.requires_grad(), 0, static_cast<int>(found - options_.begin())});
    tensors.push_back(tensor);
  }
  auto layout = make_layout(infos, {.ranks = communicator_->size(), .alignment_bytes = alignment_bytes_});
  auto memory = allocate(layout);
  groups_.reserve(layout.size());
  for (size_t i = 0; i < layout.size(); i++) {
    groups_.emplace_back(std::move(layout[i]), std::move(memory[i]), tensors, lifetimes_, *communicator_);
    if (optimizer_) groups_.back().make_optimizer_state(*optimizer_);
  }
  if (spec && spec->factory) make_custom_optimizer(*spec);
  if (on_several_hosts()) overlap_ = std::make_unique<detail::Overlap>(groups_);
  broadcast_buffers();
}

void Strategy::make_custom_optimizer(const OptimizerSpec& spec) {
  if (!spec.rules.empty())
    throw UsageError("parallel", fmt::format("{} rules by parameter name for a custom optimizer", spec.rules.size()),
                     "make groups in its factory instead");
  std::vector<Tensor> trained;
  for (const auto& [name, tensor] : parameters_)
    if (tensor.requires_grad()) trained.push_back(tensor);
  custom_ = std::make_unique<TorchOptimizer>(spec.factory, trained);
  options_.clear();  // its groups are its own
  for (const double lr : custom_->base_lrs()) options_.push_back({lr, 0});
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
  if (std::any_of(groups_.begin(), groups_.end(), [](const FlatGroup& group) { return group.reducing(); }))
    throw UsageError("parallel", "a backward after the one that was to be the last of its step",
                     "call expect_step before the last one only");
  // A rank alone needs no common unit of weight: it takes its first micro-batch's, so that one micro-batch is a plain backward.
  if (communicator_->size() == 1 && weight_ == 0 && weight > 0) unit_ = weight;
  if (weight == unit_)
    loss.backward();
  else
    loss.backward(at::scalar_tensor(weight / unit_, loss.options().requires_grad(false)).view(loss.sizes()));
  for (auto& group : groups_) group.settle(names_);
  if (overlap_ && overlap_->begun()) overlap_->end();
  weight_ += weight;
}

void Strategy::expect_step() {
  if (overlap_) overlap_->begin();
}

StepTotals Strategy::meet(uint32_t signals) {
  for (auto& group : groups_) group.settle(names_);  // a rank may have had no backward at all
  for (size_t i = groups_.size(); i-- > 0;)
    if (groups_[i].trained()) groups_[i].start_reduce();
  StepTotals totals;
  const auto all = exchange({weight_, static_cast<double>(signals)});
  for (size_t i = 0; i < all.size(); i += 2) {
    totals.weight += all[i];
    totals.signals |= static_cast<uint32_t>(all[i + 1]);
  }
  weight_ = 0;
  return totals;
}

void Strategy::reduce(const StepTotals& totals) {
  if (!(totals.weight > 0))
    throw UsageError("parallel", fmt::format("a step with a total weight of {}", totals.weight), "skip the step: no rank had a sample");
  for (auto& group : groups_)
    if (group.trained()) group.reduce(unit_ / totals.weight);
}

double Strategy::grad_norm() {
  double mine = 0;
  for (auto& group : groups_)
    if (group.trained()) mine += squared_norm(group.mean());
  if (lifetimes_.optimizer != Hold::sharded) return std::sqrt(mine);
  double sum = 0;
  for (double part : exchange({mine})) sum += part;
  return std::sqrt(sum);
}

void Strategy::clip_by_norm(double total_norm, double max_norm) {
  for (auto& group : groups_)
    if (group.trained()) levin::clip_by_norm(group.mean(), total_norm, max_norm);
}

void Strategy::clip_by_value(double limit) {
  for (auto& group : groups_)
    if (group.trained()) levin::clip_by_value(group.mean(), limit);
}

void Strategy::update(const std::function<double(double)>& schedule) {
  at::NoGradGuard no_grad;
  const auto options_of = [&](const FlatGroup::Slice& slice) {
    const auto& base = options_[static_cast<size_t>(slice.segment.options)];
    return SegmentOptions{schedule(base.lr), base.weight_decay};
  };
  if (custom_) {
    custom_->step(schedule);
  } else if (const auto* layer_wise = dynamic_cast<const LayerWiseOptimizer*>(optimizer_.get())) {
    update_layer_wise(*layer_wise, groups_, parameters_.size(), options_of, [this](const Tensor& squares) {
      if (lifetimes_.optimizer == Hold::sharded) communicator_->all_reduce(squares).wait();
    });
  } else if (optimizer_) {
    for (auto& group : groups_)
      for (auto& slice : group.slices()) {
        const auto [lr, weight_decay] = options_of(slice);
        optimizer_->step(slice.parameters, slice.gradients, slice.state, lr, weight_decay);
      }
  }
  if (lifetimes_.optimizer == Hold::sharded) publish_parameters();
}

void Strategy::publish_parameters() {
  if (!on_several_hosts()) {
    communicator_->barrier();
    return;
  }
  std::vector<Work> works;
  for (auto& group : groups_)
    if (group.trained()) works.push_back(group.share_parameters());
  for (auto& work : works) work.wait();
}

void Strategy::zero_grad() {
  at::NoGradGuard no_grad;
  for (auto& group : groups_) group.zero_grad();
}

void Strategy::drop_step() {
  weight_ = 0;
  zero_grad();
}

void Strategy::write_parameters(const std::function<void(const std::string&, Tensor&)>& fn) {
  std::exception_ptr failure;
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

std::vector<GradientSlice> Strategy::gradients() {
  std::vector<GradientSlice> slices;
  for (auto& group : groups_) {
    if (!group.trained()) continue;
    for (const auto& [parameter, range] : group.layout().placements) {
      const Range mine = intersect(range, group.owned());
      if (mine.size() == 0) continue;
      slices.push_back({names_[static_cast<size_t>(parameter)], group.mean().narrow(0, mine.begin - group.owned().begin, mine.size()),
                        mine.begin - range.begin});
    }
  }
  return slices;
}

void Strategy::broadcast_buffers() {
  if (communicator_->size() == 1) return;
  at::NoGradGuard no_grad;
  for (auto& buffer : buffers_) {
    if (buffer.is_contiguous()) {
      communicator_->broadcast(buffer, 0).wait();
    } else {
      const Tensor copy = buffer.contiguous();
      communicator_->broadcast(copy, 0).wait();
      buffer.copy_(copy);
    }
  }
}

}  // namespace levin
