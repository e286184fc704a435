#include "levin/optim/optimizer_spec.h"

namespace levin {

OptimizerSpec custom(OptimizerFactory factory) {
  OptimizerSpec spec = SGD{};
  spec.factory = std::move(factory);
  return spec;
}

bool matches(const std::string& pattern, const std::string& name) {
  size_t p = 0, n = 0, star = std::string::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++, resume = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      p++, n++;
    } else if (star != std::string::npos) {
      p = star + 1, n = ++resume;  // the last star takes one character more
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') p++;
  return p == pattern.size();
}

SegmentOptions options_for(const OptimizerSpec& spec, const std::string& parameter_name) {
  SegmentOptions options{base_lr(spec.optimizer), base_weight_decay(spec.optimizer)};
  for (const auto& rule : spec.rules)
    if (matches(rule.pattern, parameter_name)) {
      options.lr = rule.lr.value_or(options.lr);
      options.weight_decay = rule.weight_decay.value_or(options.weight_decay);
      break;
    }
  return options;
}

}  // namespace levin
