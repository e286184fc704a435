#pragma once
#include <cstdint>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/parallel/plan.h"

namespace levin::detail {

/// Whether a node has the memory that a form needs by plan.
class MemoryCheck {
 public:
  MemoryCheck(PlanModel model, const Form& form, const Ranks& ranks, int64_t alignment_bytes);
  int64_t ranks_of_node() const noexcept;
  /// Bytes of a node.
  int64_t needed() const { return needed(form_); }
  /// ConfigError that names what is needed, and a strategy that is content with so many bytes of a node.
  [[noreturn]] void refuse(int64_t there) const;

 private:
  int64_t needed(const Form& form) const;

  PlanModel model_;
  Form form_;
  Ranks ranks_;
  int64_t alignment_bytes_;
};

/// Before anything is allocated, as a rank that the system ends for its memory says nothing: where a node has too little, all ranks get a
/// ConfigError. `parameters`: what is about to move, so its memory counts as free. Collective.
void check_memory(const MemoryCheck& check, const std::vector<Tensor>& parameters, Communicator& communicator);

}  // namespace levin::detail
