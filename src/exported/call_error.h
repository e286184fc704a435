#pragma once
#include <exception>

#include "node_text.h"

namespace levin::exported {

/// Turns an exception of a node's call into an Error with the line in Python. IoError and DataError nest it, for is_out_of_memory and
/// is_too_few_samples:
/// - ConfigError (78): LibTorch has no such kernel for this device or dtype.
/// - IoError (74): out of memory.
/// - UsageError (70): the accelerator failed, maybe in an earlier call.
/// - DataError (65) for all others: batch and graph do not fit each other, or the archive is wrong.
[[noreturn]] void refuse_call(const NodeText& node, const std::exception& error);

}  // namespace levin::exported
