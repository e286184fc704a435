#pragma once
/// Components chosen by name out of a set that the program registers at run time, beside the closed choice that a std::variant is:
///
///     Registry<Callback> registry;
///     registry.add<EarlyStopping>();                      // named by LEVIN_CHOICE of EarlyStopping::Config
///     registry.add<MyCallback>("my_callback");
///
///     struct Config { Choices<Callback> callbacks; };     // callbacks: [my_callback, {name: early_stopping, patience: 5}]
///     config.callbacks.offer(registry);
///     for (auto& callback : config.callbacks.make()) …
#include <concepts>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/registry.h"

namespace levin {

/// What Choices of all kinds of components are for a config: names with fields, in order. A value can be a name, a map with a name, a list
/// of them, or none, and replaces what was chosen before. A map without a name, as dotted names make it, has a component's name or number
/// as key: its fields are set, and a component that was not chosen yet is added.
class OpenChoice {
 public:
  struct Item {
    size_t alternative;
    std::shared_ptr<const void> config;  ///< never written to: copies share it
  };
  OpenChoice() = default;

  const std::vector<Item>& items() const noexcept { return items_; }
  const std::vector<Alternative>& alternatives() const noexcept;
  /// The config of the first item of an alternative, or null.
  const void* find(size_t alternative) const noexcept;
  /// For a choice that is also a switch (`true`, `false`): whether it is `true` without a name.
  bool by_default() const noexcept { return items_.empty() && on_.value_or(false); }
  /// Something is chosen, be it by default.
  bool enabled() const noexcept { return !items_.empty() || by_default(); }

 protected:
  /// A choice that is also a switch, and its value.
  explicit OpenChoice(bool on) : on_(on) {}
  /// The items; where they are those by default, fresh ones of what the registry has by default.
  std::vector<Item> effective_items() const;

  std::shared_ptr<const RegistryBase> registry_;
  std::vector<Item> items_;

 private:
  friend class OpenChoiceType;
  std::optional<bool> on_;
};

/// How an OpenChoice is read, written and explained.
class OpenChoiceType : public ConfigType {
 public:
  std::string name() const override { return "list of names"; }
  std::string allowed_for(const void* object, const Constraints& constraints) const override;
  void read(void* object, const ConfigValue& value, const ConfigLocation& location) const override;
  /// Also refuses the same component with the same fields twice.
  void check(const void* object, const ConfigLocation& location) const override;
  ConfigValue write(const void* object) const override;
  void make_absolute(void* object, const std::filesystem::path& base) const override;
  const OpenChoiceType* as_open_choice() const noexcept override { return this; }
  bool is_map() const noexcept override { return true; }
  bool is_compound() const noexcept override { return true; }

  virtual const OpenChoice& of(const void* object) const = 0;

 private:
  static OpenChoice::Item read_item(const OpenChoice& choice, const ConfigValue& value, const ConfigLocation& location);
  static void read_entry(OpenChoice& choice, const ConfigEntry& entry, const ConfigLocation& location);
};

/// Components of one kind, chosen by name. The type of a config's field.
template <class Base, class... Arguments>
class Choices : public OpenChoice {
 public:
  Choices() = default;
  /// Replaces the registry of alternatives and clears the choice.
  void offer(Registry<Base, Arguments...> registry) {
    items_.clear();
    registry_ = std::make_shared<const Registry<Base, Arguments...>>(std::move(registry));
  }
  /// New components, in order.
  std::vector<std::shared_ptr<Base>> make(const Arguments&... arguments) const {
    std::vector<std::shared_ptr<Base>> components;
    for (const auto& [alternative, config] : effective_items())
      components.push_back(static_cast<const Registry<Base, Arguments...>&>(*registry_).make(alternative, config.get(), arguments...));
    return components;
  }

 protected:
  explicit Choices(bool on) : OpenChoice(on) {}
};

namespace detail {

template <class T>
requires std::derived_from<T, OpenChoice>
class TypeOf<T> : public OpenChoiceType {
 public:
  std::shared_ptr<void> make() const override { return std::make_shared<T>(); }
  const OpenChoice& of(const void* object) const override { return *static_cast<const T*>(object); }
};

}  // namespace detail

}  // namespace levin
