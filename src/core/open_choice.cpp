#include "levin/core/open_choice.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "alternatives.h"
#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"

namespace levin {
namespace {

// A name stands in paths, where dots part it, and beside numbers and the words of a switch.
bool can_be_a_name(const std::string& name) {
  return !name.empty() && !std::isdigit(static_cast<unsigned char>(name[0])) && name != "true" && name != "false" && name != "null" &&
         name != "none" && name != "name" &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-'; });
}

bool is_none(const ConfigValue& value) { return value.kind == ConfigValue::Kind::scalar && value.text == "none"; }

}  // namespace

void RegistryBase::add(Alternative alternative, Copy copy, bool by_default) {
  for (const auto& name : alternative.names)
    if (!can_be_a_name(name))
      throw UsageError("config", fmt::format("{} cannot be the name of a component", quote(name)), "give letters, digits, _ and -");
  detail::check_alternative(alternative, alternatives_);
  if (by_default) defaults_.push_back(alternatives_.size());
  alternatives_.push_back(std::move(alternative));
  copies_.push_back(copy);
}

const std::vector<Alternative>& OpenChoice::alternatives() const noexcept {
  static const std::vector<Alternative> none;
  return registry_ ? registry_->alternatives() : none;
}

const void* OpenChoice::find(size_t alternative) const noexcept {
  for (const auto& item : items_)
    if (item.alternative == alternative) return item.config.get();
  return nullptr;
}

std::vector<OpenChoice::Item> OpenChoice::effective_items() const {
  if (!by_default() || !registry_) return items_;
  std::vector<Item> items;
  for (size_t alternative : registry_->defaults()) items.push_back({alternative, alternatives()[alternative].type->make()});
  return items;
}

std::string OpenChoiceType::allowed_for(const void* object, const Constraints&) const {
  const auto& choice = of(object);
  const std::string names = choice.alternatives().empty() ? "nothing" : joined(detail::first_names(choice.alternatives()));
  return fmt::format("{}one or a list of: {}", choice.on_ ? "true, false, or " : "none, or ", names);
}

OpenChoice::Item OpenChoiceType::read_item(const OpenChoice& choice, const ConfigValue& value, const ConfigLocation& location) {
  const bool is_map = value.kind == ConfigValue::Kind::map;
  if (value.kind == ConfigValue::Kind::sequence || (is_map && !value.find("name")))
    location.fail(value.source, fmt::format("{} has no name", quote(to_yaml_line(value))), "write {name: …} with its fields");
  const size_t alternative = detail::find_alternative(choice.alternatives(), is_map ? *value.find("name") : value, location);
  const auto& type = *choice.alternatives()[alternative].type;
  auto config = type.make();
  if (is_map) type.read(config.get(), detail::without_name(value), location);
  return {alternative, std::move(config)};
}

// `early_stopping: {…}`, or `0: {…}`: fields of an item.
void OpenChoiceType::read_entry(OpenChoice& choice, const ConfigEntry& entry, const ConfigLocation& location) {
  const ConfigLocation item_location = location.field(entry.key.size() <= 80 ? entry.key : quote(entry.key), nullptr);
  auto& items = choice.items_;
  size_t index_in_list = 0;
  if (const auto number = parse_number<uint32_t>(entry.key)) {
    if (*number >= items.size())
      item_location.fail(entry.source, fmt::format("no component has this number, {} are chosen", items.size()), "numbers begin with 0");
    index_in_list = *number;
  } else {
    ConfigValue name = ConfigValue::scalar(entry.key, true);
    name.source = entry.source;
    const size_t alternative = detail::find_alternative(choice.alternatives(), name, location);
    const auto same = [&](const OpenChoice::Item& item) { return item.alternative == alternative; };
    if (std::count_if(items.begin(), items.end(), same) > 1)
      item_location.fail(entry.source, "is chosen more than once", "give its number in the list in place of its name");
    index_in_list = static_cast<size_t>(std::find_if(items.begin(), items.end(), same) - items.begin());
    if (index_in_list == items.size()) items.push_back({alternative, choice.alternatives()[alternative].type->make()});
  }
  auto& item = items[index_in_list];
  auto config = choice.registry_->copy(item.alternative, item.config.get());
  choice.alternatives()[item.alternative].type->read(config.get(), entry.value, item_location);
  item.config = std::move(config);
}

void OpenChoiceType::read(void* object, const ConfigValue& value, const ConfigLocation& location) const {
  using Kind = ConfigValue::Kind;
  auto& choice = const_cast<OpenChoice&>(of(object));
  OpenChoice changed = choice;  // so that a refused value leaves the object as it was
  ConfigLocation unrecorded = location;
  unrecorded.set = nullptr;
  const bool is_switch = choice.on_.has_value();
  if (value.kind == Kind::map && !value.find("name")) {
    changed.items_ = choice.effective_items();
    for (const auto& entry : value.entries) read_entry(changed, entry, location);
  } else {
    changed.items_.clear();
    if (value.is_null()) {
      if (is_switch) changed.on_ = true;
    } else if (is_switch && value.kind == Kind::scalar && !value.quoted && (value.text == "true" || value.text == "false")) {
      changed.on_ = value.text == "true";
    } else {
      if (is_switch) changed.on_ = false;
      if (value.kind == Kind::sequence)
        for (const auto& item : value.items) changed.items_.push_back(read_item(choice, item, unrecorded.item(changed.items_.size())));
      else if (!is_none(value))
        changed.items_.push_back(read_item(choice, value, unrecorded));
    }
    location.forget_fields();
  }
  choice = std::move(changed);
  location.record(value.source);
}

void OpenChoiceType::check(const void* object, const ConfigLocation& location) const {
  const auto& choice = of(object);
  std::set<std::string> seen;
  for (size_t i = 0; i < choice.items_.size(); ++i) {
    const auto& [alternative, config] = choice.items_[i];
    const auto& chosen = choice.alternatives()[alternative];
    chosen.type->check(config.get(), location.item(i));
    if (!seen.insert(to_yaml_line(detail::write_alternative(chosen, config.get(), ""))).second)
      location.item(i).fail({}, fmt::format("{} is chosen twice with the same fields", chosen.names.front()), "keep one");
  }
}

void OpenChoiceType::make_absolute(void* object, const std::filesystem::path& base) const {
  auto& choice = const_cast<OpenChoice&>(of(object));
  for (auto& item : choice.items_) {
    auto config = choice.registry_->copy(item.alternative, item.config.get());
    choice.alternatives()[item.alternative].type->make_absolute(config.get(), base);
    item.config = std::move(config);
  }
}

ConfigValue OpenChoiceType::write(const void* object) const {
  const auto& choice = of(object);
  if (choice.on_ && choice.items_.empty()) return ConfigValue::scalar(*choice.on_ ? "true" : "false");
  ConfigValue out = ConfigValue::sequence();
  for (const auto& [alternative, config] : choice.items_)
    out.items.push_back(detail::write_alternative(choice.alternatives()[alternative], config.get(), ""));
  return out;
}

}  // namespace levin
