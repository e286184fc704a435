#include "call_error.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "levin/core/error.h"
#include "levin/trainer/training_trial.h"

namespace levin::exported {
namespace {

// LibTorch's message without the details for its developers, such as all kernels of an operator.
std::string cause_of(const std::exception& error) {
  constexpr size_t longest = 500;
  const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
  std::string text = of_torch ? of_torch->what_without_backtrace() : error.what();
  text.resize(std::min({text.size(), text.find("\n\n"), text.find("\nException raised from ")}));
  if (text.size() > longest) text = text.substr(0, longest) + "...";
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

}  // namespace

void refuse_call(const NodeText& node, const std::exception& error) {
  const std::string message = fmt::format("{} failed: {}", node.describe(), cause_of(error));
  if (is_out_of_memory(error)) std::throw_with_nested(IoError(message, "try a smaller batch", "exported"));
  if (dynamic_cast<const c10::NotImplementedError*>(&error))
    throw ConfigError(message, "choose another trainer.precision or trainer.accelerator, or write this line with other functions",
                      "exported");
  if (dynamic_cast<const c10::AcceleratorError*>(&error)) throw UsageError("exported", message);
  std::throw_with_nested(DataError(message, "compare sizes and values of the batch with what this line takes", "exported"));
}

}  // namespace levin::exported
