#pragma once
#include <ATen/core/dispatch/Dispatcher.h>

#include <string>
#include <vector>

#include "graph.h"

namespace levin::exported {

/// LibTorch's operator of a target such as "torch.ops.aten.add.Tensor". Refused for one that this LibTorch lacks, and for one that may not
/// run: an archive calls ATen's operators on tensors, numbers and lists alone, none that touches files, autograd or the memory of tensors,
/// and none that trusts its caller.
c10::OperatorHandle find_operator(const std::string& target);
/// Whether a target is one of LibTorch's operators, whatever its name.
bool is_operator(const std::string& target) noexcept;
bool is_higher_order(const std::string& target) noexcept;

/// The node's argument for each of the schema's, null for a default. Refused for unknown, repeated and missing arguments.
std::vector<const Argument*> match_arguments(const c10::FunctionSchema& schema, const Node& node);

/// Which of the schema's arguments the node changes in place, and which share memory with what it returns, or may do so.
struct Effects {
  std::vector<size_t> written, returned;
};
Effects effects_of(const c10::FunctionSchema& schema, const std::vector<const Argument*>& given);

}  // namespace levin::exported
