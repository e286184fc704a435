#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/core/tensor.h"
#include "levin/optim/flat_optimizer.h"
#include "levin/parallel/layout.h"
#include "levin/parallel/state_tensor.h"

namespace levin {

/// How a kind of state lives on the ranks. Strategies differ in nothing but these lifetimes.
enum class Hold {
  whole,   ///< every rank has all of it
  shared,  ///< one copy a node, in shared memory, which all of its ranks see
  sharded  ///< every rank has its part
};

struct Lifetimes {
  Hold parameters = Hold::whole, gradients = Hold::whole, optimizer = Hold::whole;
};

/// Whether some ranks share no memory because they are on other hosts, while those of one host do.
bool on_several_hosts(Communicator& communicator);
/// Whether a group's reduction starts when its gradients are complete, and goes on during the rest of the backward.
bool reduces_early(Communicator& communicator);

/// The buffers of a group.
struct GroupMemory {
  Tensor parameters;                   ///< [numel]
  Tensor gradients;                    ///< [numel], this rank's; undefined where nothing is trained
  std::vector<Tensor> peer_gradients;  ///< every rank's gradients in rank order, where all can be read; else empty

  /// Zeroed memory for a group. Collective. Where a node's shared memory has no room for a form that needs it: null or IoError, on all
  /// ranks, as `when_short` says.
  static std::unique_ptr<GroupMemory> allocate(const GroupLayout& layout, const Lifetimes& lifetimes, Communicator& communicator,
                                               WhenShort when_short);
};

/// The parameters of one layout group in one flat buffer, their gradients in another, and this rank's part of the optimizer state.
/// Parameters are views of the buffer; after a backward their .grad are views of the gradient buffer.
class FlatGroup {
 public:
  /// Moves the model's parameters (`tensors`, in the order of the layout's indices) into `memory`. Collective; the values are rank 0's.
  FlatGroup(GroupLayout layout, GroupMemory memory, const std::vector<Tensor>& tensors, const Lifetimes& lifetimes,
            Communicator& communicator);

  const GroupLayout& layout() const noexcept { return layout_; }
  /// What this rank updates.
  Range owned() const noexcept { return owned_; }
  bool trained() const noexcept { return layout_.trained; }

  /// Gives the owned part of each segment its optimizer state.
  void make_optimizer_state(const FlatOptimizer& optimizer);
  /// The next backward's gradients are the first of a step. Until then .grad is undefined, as after torch's zero_grad: the first gradient
  /// is moved into the buffer, which saves writing zeros and adding to them.
  void zero_grad();
  /// After a backward: what .grad holds is in the buffer, and .grad is its view again, whatever autograd or user code put there. A
  /// UsageError where a parameter left its buffer. `absent` gets those (by the layout's indices) without a gradient for the first time.
  void settle(const std::vector<std::string>& names, std::vector<size_t>* absent = nullptr);
  /// False where there was no gradient.
  bool settle(size_t member);
  /// Where it may start early: this rank's gradients are complete, and their sum may be on its way. In the same order on all ranks, as
  /// reduce.
  void start_reduce();
  bool reducing() const noexcept { return reduction_.has_value(); }
  /// This rank's gradients times `factor`, before their reduction.
  void scale_gradients(double factor);
  /// The mean gradient of the owned part becomes readable in mean(): the sum over ranks times `factor`. All ranks' gradients must be
  /// complete, and peers may read them until the next barrier.
  void reduce(double factor);
  /// Between hosts, where each has one copy of the parameters: what this host's ranks have updated goes to the others.
  Work share_parameters();
  /// [owned().size()]
  const Tensor& mean() const noexcept { return mean_; }

  struct Slice {
    Segment segment;  ///< its range lies in owned()
    Tensor parameters, gradients;
    OptimizerState state;
  };
  std::vector<Slice>& slices() noexcept { return slices_; }
  const std::vector<Slice>& slices() const noexcept { return slices_; }
  /// What this rank's part of saving or loading is, of the parameters and, where they are trained, of the optimizer's state.
  Range parameters_for(StateUse use) const;
  Range optimizer_state_for(StateUse use) const;
  /// [numel]
  const Tensor& parameters() const noexcept { return memory_.parameters; }
  /// The parameters, in the layout's order.
  const std::vector<Tensor>& members() const noexcept { return members_; }

 private:
  void adopt_values(const std::vector<Tensor>& tensors);
  void adopt_gradients();

  GroupLayout layout_;
  Lifetimes lifetimes_;
  Communicator* communicator_;
  Range owned_;
  GroupMemory memory_;
  Tensor mean_;
  std::optional<Work> reduction_;   // under way
  std::vector<Tensor> peer_parts_;  // the owned part of every rank's gradients, in rank order
  std::vector<Tensor> members_, member_gradients_;
  std::vector<const void*> homes_;  // where each member's data are
  std::vector<bool> was_absent_;    // by member
  std::vector<Slice> slices_;
};

}  // namespace levin
