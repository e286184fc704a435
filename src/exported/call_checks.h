#pragma once
#include <string>

#include "operand.h"

namespace levin::exported {

/// Looks at the arguments of a call, and may replace them. c10::Error for those with which LibTorch's kernel would crash.
using CallCheck = void (*)(Stack& arguments);
/// The check of an operator such as "_weight_norm", or null.
CallCheck call_check(const std::string& name) noexcept;

}  // namespace levin::exported
