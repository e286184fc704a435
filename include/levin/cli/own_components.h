#pragma once
#include <functional>
#include <string>
#include <type_traits>
#include <utility>

#include "levin/trainer/component_choices.h"

namespace levin::cli {

/// A line of main that adds a component of the program's own to what can be chosen.
template <class Registry>
struct Registration {
  std::function<void(Registry&)> add;
  template <class Parts>
  void add_to(Parts& parts) const {
    if constexpr (std::is_same_v<Registry, CallbackRegistry>)
      parts.program.add_callbacks.push_back(add);
    else if constexpr (std::is_same_v<Registry, ProfilerRegistry>)
      parts.program.add_profilers.push_back(add);
    else
      parts.program.add_loggers.push_back(add);
  }
};

/// A callback for `trainer.callbacks`, named by LEVIN_CHOICE of its Config, or here.
template <class T>
Registration<CallbackRegistry> callback() {
  return {[](CallbackRegistry& registry) { registry.add<T>(); }};
}
template <class T>
Registration<CallbackRegistry> callback(std::string name) {
  return {[name = std::move(name)](CallbackRegistry& registry) { registry.add<T>(name); }};
}

/// A logger for `trainer.logger`. One that is constructed from its Config and a std::filesystem::path is given the run's folder.
template <class T>
Registration<LoggerRegistry> logger() {
  return {[](LoggerRegistry& registry) { registry.add<T>(); }};
}
template <class T>
Registration<LoggerRegistry> logger(std::string name) {
  return {[name = std::move(name)](LoggerRegistry& registry) { registry.add<T>(name); }};
}

/// A profiler for `trainer.profiler`.
template <class T>
Registration<ProfilerRegistry> profiler() {
  return {[](ProfilerRegistry& registry) { registry.add<T>(); }};
}
template <class T>
Registration<ProfilerRegistry> profiler(std::string name) {
  return {[name = std::move(name)](ProfilerRegistry& registry) { registry.add<T>(name); }};
}

}  // namespace levin::cli
