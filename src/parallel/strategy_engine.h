#pragma once
#include <torch/nn/module.h>

#include "autograd_hooks.h"
#include "deferred_shards.h"
#include "group_actions.h"
#include "group_optimizer.h"
#include "levin/comm/flight_record.h"
#include "levin/parallel/strategy.h"
#include "model_description.h"
#include "unit_tree.h"

namespace levin {

/// Everything that a Strategy owns. Members are destroyed in reverse order: hooks before the schedule, groups before their memory.
struct Strategy::Engine {
  Engine(Mesh& mesh, int64_t alignment, Log logger, MemoryCheck memory_check);

  // Setup, in this order.
  void discard(const torch::nn::Module& next);  ///< what an earlier setup made
  void resolve_custom_optimizer();
  void adopt_buffers(torch::nn::Module& module);
  void make_groups(torch::nn::Module& module);
  void check_memory(const ModelShape& model);
  std::vector<GroupStorage> allocate(const ModelShape& model, std::vector<GroupLayout>& layout, std::vector<GroupSharding>& sharding);
  void make_optimizers(const std::vector<ParameterGroupOptions>& group_options);
  void make_schedule(const ModelShape& model, const std::vector<GroupSharding>& sharding);
  void use_plan(ShardingPlan next);

  /// The module's buffers as they are now, by name.
  std::vector<NamedParameter> current_buffers() const;
  /// Calls visit(parameter) with each parameter unsharded, unit by unit. `write`: what was written becomes the shards. What a visit throws
  /// is an error on all ranks. Collective.
  void visit_parameters(bool write, const std::function<void(size_t parameter)>& visit);
  /// By parameter, whether it is the optimizer's and requires no gradient now, toggle aside; empty: none.
  std::vector<char> frozen_parameters(size_t optimizer) const;
  /// UsageError for a parameter that requires a gradient now and required none in setup: it has neither gradients nor optimizer state.
  void refuse_unfrozen() const;
  /// Rank 0 warns of tensors that collected gradients of the loss and that no module registers.
  void warn_of_unregistered(const Tensor& loss) const;

  /// Every rank's `values`, in rank order. Collective; inside a node it makes no MPI call.
  std::vector<double> exchange(const std::vector<double>& values);
  /// Of the calls since start that a backend does not compare itself, the last value of synchronize_step's exchange.
  double call_hash() const;
  std::vector<const Communicator*> compared_communicators() const;
  /// CommunicatorError where the hashes in the result of that exchange differ among mesh.loss(). Collective where they do.
  void check_same_calls(const std::vector<double>& all);
  /// The sum over mesh.loss() of each rank's first value in the result of exchange: a tensor-parallel group counts its samples once.
  double sum_over_loss(const std::vector<double>& all, size_t values_per_rank) const;
  /// values += those of the other ranks among whom updates are sharded, in place, on their device. Collective; nothing where none are.
  void sum_over_shards(const Tensor& values);
  bool has_custom_optimizer() const;
  /// Whether gradients are divided by a step's total weight that kernels read on the device.
  bool keeps_factor_on_device() const;
  /// The optimizers that a backward is for.
  std::vector<size_t> active_optimizers() const;

  std::unique_ptr<Mesh> own_mesh;  // of a strategy that was given a communicator
  Mesh* mesh;
  Communicator* communicator;  // of mesh.loss()
  int64_t alignment_bytes;
  Log log;
  MemoryCheck check;
  bool automatic = false;  // setup may choose another plan
  std::shared_ptr<CallSlot> exchange_slot;
  uint64_t exchanges = 0;
  ShardingPlan plan;
  ProcessGroups ranks;
  MemoryMeter meter;
  std::unique_ptr<BufferPools> pools;
  std::unique_ptr<detail::DeferredShards> deferred;

  std::weak_ptr<torch::nn::Module> module;
  std::vector<OptimizerSpec> specs;
  std::vector<NamedParameter> parameters;
  std::vector<NamedParameter> buffers;         // in setup, for a module that is not in a shared_ptr
  std::vector<std::string> undefined_buffers;  // registered without a tensor when setup began
  detail::UnitTree tree;
  std::vector<std::weak_ptr<UnitBase>> units;
  std::vector<size_t> unit_of_parameter;

  std::vector<FlatGroup> groups;
  std::vector<GroupOptimizer> optimizers;  // one at least
  GroupActions actions;
  std::unique_ptr<StepSchedule> schedule;
  std::vector<std::unique_ptr<detail::UnitHooks>> unit_hooks;
  std::unique_ptr<detail::GradientHooks> gradient_hooks;

  std::vector<size_t> expected;     // the optimizers whose steps end with the next backward
  std::vector<Tensor> toggled_off;  // require no gradient because of toggle
  std::optional<size_t> toggled;    // the only optimizer that backward is for
  double unit = 1;                  // gradients are accumulated times weight / unit * gradient_scale
  GradientScale gradient_scale;
  DeviceScalar mean_factor{at::kDouble};  // of a step's gradients, on a device
  bool backward_done = false, warned_of_absent = false;
  std::vector<char> searched{1};  // by optimizer: its first loss, for tensors that no module registers
};

}  // namespace levin
