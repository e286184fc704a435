#pragma once
#include <concepts>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "levin/core/config.h"

namespace levin {

/// The config of a component without options.
struct NoOptions {};
LEVIN_CONFIG(NoOptions)

namespace detail {
template <class T>
struct ConfigOf {
  using type = NoOptions;
};
template <class T>
requires requires { typename T::Config; }
struct ConfigOf<T> {
  using type = typename T::Config;
};
}  // namespace detail

/// T::Config, or NoOptions.
template <class T>
using ConfigOf = typename detail::ConfigOf<T>::type;

/// The part of a Registry that does not depend on the type of its components.
class RegistryBase {
 public:
  using Copy = std::shared_ptr<void> (*)(const void* config);

  const std::vector<Alternative>& alternatives() const noexcept { return alternatives_; }
  /// A config of one's own.
  std::shared_ptr<void> copy(size_t alternative, const void* config) const { return copies_[alternative](config); }
  /// Alternatives that are used where `true` stands for them all.
  const std::vector<size_t>& defaults() const noexcept { return defaults_; }

 protected:
  void add(Alternative alternative, Copy copy, bool by_default);

 private:
  std::vector<Alternative> alternatives_;
  std::vector<Copy> copies_;
  std::vector<size_t> defaults_;
};

/// The components of one kind that can be chosen by name. A component is a class derived from Base that is constructed from its Config,
/// or from its Config and the Arguments; one without `using Config = …` has no options, and is constructed from the Arguments or nothing.
template <class Base, class... Arguments>
class Registry : public RegistryBase {
 public:
  /// Named by LEVIN_CHOICE of its Config. UsageError, here and below, where a name is taken or cannot be one.
  template <class T>
  void add() {
    add_named<T>(names_of<T>(), false);
  }
  template <class T>
  void add(std::string name) {
    add_named<T>({std::move(name)}, false);
  }
  /// Where the choice is a switch, too: one of those that `true` stands for.
  template <class T>
  void add_default() {
    add_named<T>(names_of<T>(), true);
  }
  std::shared_ptr<Base> make(size_t alternative, const void* config, const Arguments&... arguments) const {
    return makers_[alternative](config, arguments...);
  }

 private:
  using Maker = std::shared_ptr<Base> (*)(const void* config, const Arguments&... arguments);

  template <class T>
  static std::vector<std::string> names_of() {
    static_assert(
        requires { levin_choice_names(std::type_identity<ConfigOf<T>>{}); }, "name its Config with LEVIN_CHOICE, or give a name here");
    return levin_choice_names(std::type_identity<ConfigOf<T>>{});
  }
  template <class T>
  void add_named(std::vector<std::string> names, bool by_default) {
    using Config = ConfigOf<T>;
    static_assert(std::derived_from<T, Base>, "a component derives from what it is registered as");
    static_assert(DescribedStruct<Config>, "the Config of a component is described with LEVIN_CONFIG");
    RegistryBase::add({std::move(names), config_type<Config>().as_struct()}, &copy_of<Config>, by_default);
    makers_.push_back(&construct<T>);
  }
  template <class Config>
  static std::shared_ptr<void> copy_of(const void* config) {
    return std::make_shared<Config>(*static_cast<const Config*>(config));
  }
  template <class T>
  static std::shared_ptr<Base> construct(const void* object, const Arguments&... arguments) {
    [[maybe_unused]] const auto& config = *static_cast<const ConfigOf<T>*>(object);
    if constexpr (sizeof...(Arguments) > 0 && std::is_constructible_v<T, decltype(config), const Arguments&...>) {
      return std::make_shared<T>(config, arguments...);
    } else if constexpr (std::is_constructible_v<T, decltype(config)>) {
      return std::make_shared<T>(config);
    } else if constexpr (sizeof...(Arguments) > 0 && std::is_same_v<ConfigOf<T>, NoOptions> &&
                         std::is_constructible_v<T, const Arguments&...>) {
      return std::make_shared<T>(arguments...);
    } else {
      static_assert(std::is_same_v<ConfigOf<T>, NoOptions> && std::is_default_constructible_v<T>,
                    "a component is constructed from its Config");
      return std::make_shared<T>();
    }
  }

  std::vector<Maker> makers_;
};

}  // namespace levin
