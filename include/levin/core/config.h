#pragma once
/// A config is a struct of fields with defaults. Beside it, in the same namespace, stands its description:
///
///     struct ClassifierConfig { int64_t hidden = 128; double lr = 1e-3; };
///     LEVIN_CONFIG(ClassifierConfig, (hidden, "width of the hidden layer", at_least(1)), (lr, "peak learning rate", greater_than(0)))
///
/// A field is a bool, a number, text, a path, Seconds, Bytes, Limit, AutoCount, an enum (LEVIN_ENUM), a described struct, or std::optional,
/// std::vector, std::map<std::string, …> of them, or a std::variant of structs named by LEVIN_CHOICE; where the program registers what
/// can be chosen, it is the Choices of open_choice.h. A forgotten field does not compile. Modifiers are those of config_modifiers.h. A
/// struct may have `void validate() const`, which throws ConfigError. This header includes nothing of LibTorch.
#include "levin/core/auto_count.h"
#include "levin/core/bytes.h"
#include "levin/core/config_macros.h"
#include "levin/core/config_modifiers.h"
#include "levin/core/config_type_of.h"
#include "levin/core/limit.h"
#include "levin/core/seconds.h"

namespace levin {

/// Checks ranges and calls validate() of the config and of what is in it; for configs that a program filled by itself.
template <DescribedStruct T>
void check_config(const T& config) {
  config_type<T>().check(&config, {});
}

/// Sets what the value names and keeps the rest; checks.
template <class T>
void read_config(T& config, const ConfigValue& value) {
  config_type<T>().read(&config, value, {});
  config_type<T>().check(&config, {});
}

template <class T>
ConfigValue write_config(const T& config) {
  return config_type<T>().write(&config);
}

}  // namespace levin
