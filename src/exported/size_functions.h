#pragma once
#include <functional>
#include <string>

#include "operand.h"

namespace levin::exported {

/// Replaces a call's arguments by its results.
using Function = std::function<void(Stack&)>;

/// The function of a target that computes with sizes, as Python does ("_operator.floordiv", "torch.sym_max",
/// "torch.ops.aten.sym_size.int"); null for another target. It throws c10::Error for a division by zero, an overflow, and arguments that
/// are not numbers.
const Function* size_function(const std::string& target);

}  // namespace levin::exported
