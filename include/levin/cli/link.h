#pragma once
#include <concepts>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "levin/cli/models.h"
#include "levin/cli/program_options.h"

namespace levin::cli {

namespace detail {

template <class T>
struct MemberOf;
template <class Class, class Value>
struct MemberOf<Value Class::*> {
  using type = Class;
};

// "Data::classes" of &a::Data::classes, as the compiler writes it.
template <auto Member>
std::string member_name() {
  std::string_view text = __PRETTY_FUNCTION__;
  text = text.substr(text.find("Member = ") + 9);
  text = text.substr(0, text.find_first_of(";]"));
  size_t start = text.rfind("::");
  if (start != std::string_view::npos && start > 0) start = text.find_last_of(":&", start - 1);
  text = start == std::string_view::npos ? text : text.substr(start + 1);
  return std::string(text.substr(0, text.find(')')));
}

/// The key of a field of a described struct, as in its config.
template <auto Member>
std::string key_of() {
  using Config = typename MemberOf<decltype(Member)>::type;
  const Config config{};
  return config_type<Config>().as_struct()->key_of(&config, &(config.*Member), config_type<std::decay_t<decltype(config.*Member)>>());
}

}  // namespace detail

/// A field of a model's config that the data give, as LightningCLI's link_arguments: `link<&DataConfig::classes, &ModelConfig::classes>()`
/// from an option of the data, `link<&Data::classes, &ModelConfig::classes>()` from a member of the data module (a value, or a function
/// without arguments), read after prepare_data and setup, before the model is made. The field is then no option of its own: given all the
/// same, it is a ConfigError that says where it comes from. With several models or data modules a link holds where both its ends are
/// chosen.
template <auto Source, auto Target>
struct Link {
  using SourceClass = typename detail::MemberOf<decltype(Source)>::type;
  using TargetClass = typename detail::MemberOf<decltype(Target)>::type;
  using TargetValue = std::decay_t<std::invoke_result_t<decltype(Target), TargetClass&>>;
  static_assert(DescribedStruct<TargetClass> && std::is_member_object_pointer_v<decltype(Target)>,
                "a link leads to a field of a described config");
  static_assert(std::is_invocable_v<decltype(Source), SourceClass&>, "a link comes from a field, or a function without arguments");
  static_assert(std::convertible_to<std::invoke_result_t<decltype(Source), SourceClass&>, TargetValue>,
                "the two ends of a link have types that do not fit");

  template <class Parts>
  void add_to(Parts& parts) const {
    static_assert(Parts::ModelSlot::template has_config<TargetClass>, "a link leads to a field of a model's Config");
    constexpr bool from_config = Parts::DataSlot::template has_config<SourceClass>;
    static_assert(from_config || Parts::DataSlot::template has_component<SourceClass>,
                  "a link comes from a field of a data module's Config, or from a member of a data module");
    OptionLink link;
    link.target = "model." + detail::key_of<Target>();
    if constexpr (Parts::ModelSlot::by_name) link.alternative = levin_choice_names(std::type_identity<TargetClass>{}).front();
    const auto set = [&parts](SourceClass& source) {
      detail::chosen_config<TargetClass>(parts.model)->*Target = static_cast<TargetValue>(std::invoke(Source, source));
    };
    if constexpr (from_config) {
      link.source = "data." + detail::key_of<Source>();
      link.holds = [&parts] { return detail::chosen_config<TargetClass>(parts.model) && detail::chosen_config<SourceClass>(parts.data); };
      link.apply = [&parts, set] { set(*detail::chosen_config<SourceClass>(parts.data)); };
    } else {
      link.source = detail::member_name<Source>();
      link.late = true;
      link.holds = [&parts] { return detail::chosen_config<TargetClass>(parts.model) && detail::is_chosen<SourceClass>(parts.data); };
      link.apply = [&parts, set] { set(dynamic_cast<SourceClass&>(*parts.built_data_module)); };
    }
    parts.links.push_back(std::move(link));
  }
};

template <auto Source, auto Target>
Link<Source, Target> link() {
  return {};
}

}  // namespace levin::cli
