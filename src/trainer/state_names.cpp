#include "state_names.h"

#include <c10/util/Type.h>

#include <map>

#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"

namespace levin::detail {

void RunningEntry::add_to(StateDict& dict, int64_t number) const {
  const auto set = [&](const char* field, const auto& value) { dict.set(fmt::format("{:04}.{}", number, field), value); };
  set("name", name);
  set("metric", metric);
  set("on_step", options.on_step.value_or(false));
  set("on_epoch", options.on_epoch.value_or(false));
  set("prog_bar", options.prog_bar);
  set("logger", options.logger);
  set("reduce_fx", static_cast<int64_t>(options.reduce_fx));
}

RunningEntry RunningEntry::from(const StateDict& dict, int64_t number) {
  const auto key = [&](const char* field) { return fmt::format("{:04}.{}", number, field); };
  const auto truth = [&](const char* field) { return dict.get<bool>(key(field)); };
  const int64_t reduce_fx = dict.get<int64_t>(key("reduce_fx"));
  if (reduce_fx < 0 || reduce_fx > static_cast<int64_t>(ReduceFx::max))
    throw DataError(fmt::format("the state's value \"{}\" is {}", key("reduce_fx"), reduce_fx), "resume with the program that wrote it",
                    "trainer");
  return {dict.get<std::string>(key("name")),
          {.on_step = truth("on_step"),
           .on_epoch = truth("on_epoch"),
           .prog_bar = truth("prog_bar"),
           .reduce_fx = static_cast<ReduceFx>(reduce_fx),
           .logger = truth("logger")},
          dict.get<std::string>(key("metric"))};
}

std::string name_of_metric(const Module& module, const Metric* metric) {
  for (const auto& [name, its] : module.metrics())
    if (its.get() == metric) return name;
  return {};
}

std::vector<std::pair<std::string, std::shared_ptr<Callback>>> keyed_callbacks(const Trainer& trainer) {
  std::vector<std::pair<std::string, std::shared_ptr<Callback>>> keyed;
  std::map<std::string, int> seen;
  for (const auto& callback : trainer.callbacks()) {
    std::string key = callback->state_key();
    if (key.empty()) key = c10::demangle(typeid(*callback).name());
    for (size_t at; (at = key.find('/')) != std::string::npos;) key[at] = '_';
    if (const int count = ++seen[key]; count > 1) key += fmt::format("_{}", count);
    keyed.emplace_back(std::move(key), callback);
  }
  return keyed;
}

}  // namespace levin::detail
