#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/parallel/plan.h"

namespace levin::detail {

/// Whether a node has the memory that a form needs by plan.
class MemoryCheck {
 public:
  struct Alternative {
    std::string name;  ///< of the strategy
    Form form;
    int64_t needed;
  };

  MemoryCheck(PlanModel model, const Form& form, const Ranks& ranks, int64_t alignment_bytes);
  int64_t ranks_of_node() const noexcept;
  /// Bytes of a node.
  int64_t needed() const { return needed(form_); }
  /// The first of planned_strategies() that is content with so many bytes of a node.
  std::optional<Alternative> strategy_within(int64_t bytes) const;
  /// ConfigError that names what is needed, and what to use instead.
  [[noreturn]] void refuse(int64_t there, const std::optional<Alternative>& other) const;

 private:
  int64_t needed(const Form& form) const;

  PlanModel model_;
  Form form_;
  Ranks ranks_;
  int64_t alignment_bytes_;
};

/// Bytes that the node with the least has for a training, the same on all ranks: what is free, and what its ranks' `parameters` have, which
/// are about to move. Collective.
int64_t memory_of_every_node(const std::vector<Tensor>& parameters, int64_t ranks_of_node, int64_t (*free_memory)(),
                             Communicator& communicator);

}  // namespace levin::detail
