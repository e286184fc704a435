#pragma once
#include <tuple>
#include <type_traits>
#include <variant>

#include "levin/cli/program_options.h"
#include "levin/core/registry.h"

namespace levin::cli {

/// In place of one model: several, of which one is chosen by name (`--model cnn --model.width 3`). The first is the default. Each has a
/// a separate Config, named by LEVIN_CHOICE.
template <class... Ts>
struct Models {};
/// The same of data modules.
template <class... Ts>
struct DataModules {};

namespace detail {

// The one component of a program, with its config.
template <class T>
class Slot {
 public:
  static constexpr bool by_name = false;
  template <class Config>
  static constexpr bool has_config = std::is_same_v<Config, ConfigOf<T>>;
  template <class Class>
  static constexpr bool has_component = std::is_base_of_v<Class, T>;

  void add_group(ProgramOptions& options, const char* name, const char* help) {
    if constexpr (!std::is_same_v<ConfigOf<T>, NoOptions>) options.add_group(name, help, config_);
  }
  /// visitor.operator()<T>(config) of what is chosen.
  template <class Visitor>
  auto visit(Visitor&& visitor) {
    return visitor.template operator()<T>(config_);
  }

 private:
  ConfigOf<T> config_;
};

// One of several.
template <class... Ts>
class Slots {
 public:
  static constexpr bool by_name = true;
  template <class Config>
  static constexpr bool has_config = (std::is_same_v<Config, ConfigOf<Ts>> || ...);
  template <class Class>
  static constexpr bool has_component = (std::is_base_of_v<Class, Ts> || ...);
  static_assert(sizeof...(Ts) > 0, "there is nothing to choose from");
  template <class Config>
  static constexpr int with_config = (int(std::is_same_v<Config, ConfigOf<Ts>>) + ... + 0);
  static_assert(with_config<NoOptions> == 0 && ((with_config<ConfigOf<Ts>> == 1) && ...),
                "each of several has a separate Config, named by LEVIN_CHOICE; it may be empty");

  void add_group(ProgramOptions& options, const char* name, const char* help) { options.add_group(name, help, config_); }
  template <class Visitor>
  auto visit(Visitor&& visitor) {
    return visit_from<0>(visitor);
  }

 private:
  template <size_t I, class Visitor>
  auto visit_from(Visitor& visitor) {
    using T = std::tuple_element_t<I, std::tuple<Ts...>>;
    if constexpr (I + 1 < sizeof...(Ts)) {
      return config_.index() == I ? visitor.template operator()<T>(std::get<I>(config_)) : visit_from<I + 1>(visitor);
    } else {
      return visitor.template operator()<T>(std::get<I>(config_));
    }
  }

  std::variant<ConfigOf<Ts>...> config_;
};

template <class... Ts>
class Slot<Models<Ts...>> : public Slots<Ts...> {};
template <class... Ts>
class Slot<DataModules<Ts...>> : public Slots<Ts...> {};

// The chosen component's config, if it is of this type.
template <class Config, class S>
Config* chosen_config(S& slot) {
  return slot.visit([]<class T>(auto& config) -> Config* {
    if constexpr (std::is_same_v<Config, std::remove_reference_t<decltype(config)>>) {
      return &config;
    } else {
      return nullptr;
    }
  });
}

template <class Class, class S>
bool is_chosen(S& slot) {
  return slot.visit([]<class T>(auto&) { return std::is_base_of_v<Class, T>; });
}

// A component without options is made without.
template <class T>
constexpr bool has_options = !std::is_same_v<ConfigOf<T>, NoOptions>;

}  // namespace detail

}  // namespace levin::cli
