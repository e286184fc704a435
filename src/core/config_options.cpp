#include "levin/core/config_options.h"

#include <fmt/format.h>

#include "alternatives.h"
#include "levin/core/config_kinds.h"
#include "levin/core/open_choice.h"

namespace levin {
namespace {

struct Choice {
  std::string path, alternative;
};

struct Walk {
  std::vector<ConfigOption> options;

  void fields(const StructType& type, const void* object, const std::string& path, const Choice& of) {
    std::shared_ptr<const void> defaults;
    if (!object) object = (defaults = type.make()).get();
    for (const auto& field : type.fields()) {
      if (field.constraints.flattened)
        fields(*field.type().as_struct(), field.in(object), path, of);
      else
        value(field.type(), field.in(object), path.empty() ? field.name : path + "." + field.name, field.help, field.constraints, of);
    }
  }

  void open_fields(const OpenChoice& choice, const std::string& path) {
    const auto& alternatives = choice.alternatives();
    for (size_t i = 0; i < alternatives.size(); ++i) {
      const auto& name = alternatives[i].names.front();
      fields(*alternatives[i].type, choice.find(i), fmt::format("{}.{}", path, name), {path, name});
    }
  }

  void value(const ConfigType& type, const void* object, const std::string& path, const std::string& help, const Constraints& constraints,
             const Choice& of) {
    const auto* choice = type.as_choice();
    const auto* group = choice ? nullptr : type.as_struct();
    const void* inside = type.inside(object);
    // A choice's own value is its name: the fields follow by themselves.
    std::string text = group              ? ""
                       : choice && inside ? choice->alternatives()[choice->index(inside)].names.front()
                                          : to_yaml_line(type.write(object));
    options.push_back(
        {path, help, type.allowed_for(object, constraints), std::move(text), of.path, of.alternative, &type, group != nullptr});
    const auto* open = type.as_open_choice();
    if (choice || open)
      for (const auto& alternative : choice ? choice->alternatives() : open->of(object).alternatives())
        options.back().alternatives.push_back(detail::all_names(alternative));
    if (group) fields(*group, inside, path, of);
    if (open) open_fields(open->of(object), path);
    if (!choice) return;
    for (size_t i = 0; i < choice->alternatives().size(); ++i) {
      const bool chosen = inside && choice->index(inside) == i;
      fields(*choice->alternatives()[i].type, chosen ? choice->chosen(inside) : nullptr, path,
             {path, choice->alternatives()[i].names.front()});
    }
  }
};

}  // namespace

std::vector<ConfigOption> list_options(const ConfigType& type, const void* object, const std::string& path) {
  Walk walk;
  std::shared_ptr<const void> defaults;
  if (!object) object = (defaults = type.make()).get();
  if (type.as_struct() && !type.as_choice())
    walk.fields(*type.as_struct(), type.inside(object), path, {});
  else
    walk.value(type, object, path, "", {}, {});
  return std::move(walk.options);
}

}  // namespace levin
