#pragma once
// ConfigTypes of optional, vector, map and variant; included by config_type_of.h.
#include <map>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "levin/core/config_type_of.h"

namespace levin::detail {

template <class T>
class TypeOf<std::optional<T>> : public OptionalType {
 public:
  const ConfigType& inner() const override { return config_type<T>(); }
  std::shared_ptr<void> make() const override { return std::make_shared<std::optional<T>>(); }
  const void* inside(const void* object) const override {
    const auto& value = *static_cast<const std::optional<T>*>(object);
    return value ? &*value : nullptr;
  }

 protected:
  void* emplace(void* object) const override { return &static_cast<std::optional<T>*>(object)->emplace(); }
  void reset(void* object) const override { static_cast<std::optional<T>*>(object)->reset(); }
};

template <class T>
class TypeOf<std::vector<T>> : public SequenceType {
  using Vector = std::vector<T>;

 public:
  std::shared_ptr<void> make() const override { return std::make_shared<Vector>(); }

 protected:
  const ConfigType& item() const override { return config_type<T>(); }
  size_t size(const void* object) const override { return static_cast<const Vector*>(object)->size(); }
  std::shared_ptr<void> get(const void* object, size_t index) const override {
    return std::make_shared<T>((*static_cast<const Vector*>(object))[index]);
  }
  void clear(void* object) const override { static_cast<Vector*>(object)->clear(); }
  void append(void* object, std::shared_ptr<void> item) const override {
    static_cast<Vector*>(object)->push_back(std::move(*static_cast<T*>(item.get())));
  }
};

template <class T>
class TypeOf<std::map<std::string, T>> : public MapType {
  using Map = std::map<std::string, T>;

 public:
  const ConfigType& item() const override { return config_type<T>(); }
  std::shared_ptr<void> make() const override { return std::make_shared<Map>(); }

 protected:
  std::vector<std::pair<std::string, const void*>> entries(const void* object) const override {
    std::vector<std::pair<std::string, const void*>> entries;
    for (const auto& [key, value] : *static_cast<const Map*>(object)) entries.emplace_back(key, &value);
    return entries;
  }
  void clear(void* object) const override { static_cast<Map*>(object)->clear(); }
  void* at(void* object, const std::string& key) const override { return &(*static_cast<Map*>(object))[key]; }
};

template <class T>
Alternative alternative_of() {
  static_assert(DescribedStruct<T>, "an alternative of a choice is described with LEVIN_CONFIG");
  static_assert(
      requires { levin_choice_names(std::type_identity<T>{}); }, "an alternative of a choice is named with LEVIN_CHOICE");
  return {levin_choice_names(std::type_identity<T>{}), config_type<T>().as_struct()};
}

template <class... Ts>
class TypeOf<std::variant<Ts...>> : public ChoiceType {
  using Variant = std::variant<Ts...>;

 public:
  TypeOf() : ChoiceType({alternative_of<Ts>()...}) {}
  std::shared_ptr<void> make() const override { return std::make_shared<Variant>(); }
  size_t index(const void* object) const override { return static_cast<const Variant*>(object)->index(); }
  const void* chosen(const void* object) const override {
    return std::visit([](const auto& value) -> const void* { return &value; }, *static_cast<const Variant*>(object));
  }

 protected:
  void emplace(void* object, size_t index) const override {
    auto& variant = *static_cast<Variant*>(object);
    [&]<size_t... Is>(std::index_sequence<Is...>) { (void)((Is == index && (variant.template emplace<Is>(), true)) || ...); }
    (std::index_sequence_for<Ts...>{});
  }
};

}  // namespace levin::detail
