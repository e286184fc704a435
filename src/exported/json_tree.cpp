#include "json_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::exported {
namespace {

/// Builds a tree from the events of a parser that does not recurse.
class TreeBuilder {
 public:
  using Json = nlohmann::json;
  explicit TreeBuilder(JsonFile& file) : file_(file) {}

  bool null() { return add({}); }
  bool boolean(bool value) { return add({value}); }
  bool number_integer(Json::number_integer_t value) { return add({int64_t{value}}); }
  bool number_unsigned(Json::number_unsigned_t value) {
    if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return add({static_cast<int64_t>(value)});
    return add({static_cast<double>(value)});
  }
  bool number_float(Json::number_float_t value, const std::string&) { return add({value}); }
  bool string(std::string& value) { return add({std::move(value)}); }
  bool binary(Json::binary_t&) { return false; }
  bool start_object(size_t) { return open({JsonValue::Object{}}); }
  bool start_array(size_t) { return open({JsonValue::List{}}); }
  bool key(std::string& name) {
    name_ = std::move(name);
    return true;
  }
  bool end_object() {
    std::vector<std::string_view> names;
    for (const auto& member : std::get<JsonValue::Object>(open_.back()->content)) names.push_back(member.name);
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end())
      refuse(fmt::format("has an object with {} twice", quote(*twice)));
    return end_array();
  }
  bool end_array() {
    open_.pop_back();
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) {
    refuse(fmt::format("is not JSON: {}", sanitized(std::string(error.what()).substr(0, 300))));
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw DataError(fmt::format("{}: {} {}", file_.archive, file_.record, why), export_again, "exported");
  }
  JsonValue& place(JsonValue&& value) {
    if (++count_ > JsonFile::most_values) refuse(fmt::format("has more than {} values", JsonFile::most_values));
    if (open_.empty()) return file_.root = std::move(value);
    if (auto* list = std::get_if<JsonValue::List>(&open_.back()->content)) return list->emplace_back(std::move(value));
    return std::get<JsonValue::Object>(open_.back()->content).emplace_back(JsonMember{std::move(name_), std::move(value)}).value;
  }
  bool add(JsonValue&& value) {
    place(std::move(value));
    return true;
  }
  // An open container is the last element of its parent, which does not grow meanwhile: the pointer stays valid.
  bool open(JsonValue&& value) {
    if (open_.size() == JsonFile::most_depth) refuse(fmt::format("is nested more than {} levels deep", JsonFile::most_depth));
    open_.push_back(&place(std::move(value)));
    return true;
  }

  JsonFile& file_;
  std::vector<JsonValue*> open_;
  std::string name_;
  size_t count_ = 0;
};

/// Whether `wanted` is `value` or below it, and by which path. The depth is bounded by the parser.
bool find_path(const JsonValue& value, const JsonValue* wanted, std::string& path) {
  if (&value == wanted) return true;
  const auto length = path.size();
  if (const auto* list = std::get_if<JsonValue::List>(&value.content))
    for (size_t i = 0; i < list->size(); i++) {
      path += fmt::format("[{}]", i);
      if (find_path((*list)[i], wanted, path)) return true;
      path.resize(length);
    }
  if (const auto* object = std::get_if<JsonValue::Object>(&value.content))
    for (const auto& member : *object) {
      path += fmt::format("{}{}", path.empty() ? "" : ".", sanitized(member.name.substr(0, 80)));
      if (find_path(member.value, wanted, path)) return true;
      path.resize(length);
    }
  return false;
}

}  // namespace

std::string listed(const std::vector<std::string>& names) {
  constexpr size_t longest = 200;
  std::string text;
  for (const auto& name : names) {
    if (text.size() > longest) return text + ", ...";
    text += fmt::format("{}{}", text.empty() ? "" : ", ", sanitized(name.substr(0, longest)));
  }
  return text;
}

JsonFile::JsonFile(std::string of_archive, std::string of_record, const std::string& text)
    : archive(std::move(of_archive)), record(std::move(of_record)) {
  // The parser would take a zero byte for the end of the text.
  if (text.find('\0') != std::string::npos)
    throw DataError(fmt::format("{}: {} has a zero byte at {}", archive, record, text.find('\0')), export_again, "exported");
  TreeBuilder builder(*this);
  nlohmann::json::sax_parse(text, &builder);
}

template <class Type>
const Type& JsonPlace::get(const char* expected) const {
  const auto* found = std::get_if<Type>(&value_->content);
  if (!found) refuse(fmt::format("is not {}", expected));
  return *found;
}

bool JsonPlace::boolean() const { return get<bool>("true or false"); }

int64_t JsonPlace::integer(int64_t min, int64_t max) const {
  const auto value = get<int64_t>("an integer of 64 bits");
  if (value < min || value > max) refuse(fmt::format("is {}, not from {} to {}", value, min, max));
  return value;
}

double JsonPlace::number() const {
  if (const auto* value = std::get_if<double>(&value_->content)) return *value;
  if (const auto* value = std::get_if<int64_t>(&value_->content)) return static_cast<double>(*value);
  if (is_text()) {
    if (text() == "Infinity") return std::numeric_limits<double>::infinity();
    if (text() == "-Infinity") return -std::numeric_limits<double>::infinity();
    if (text() == "NaN") return std::numeric_limits<double>::quiet_NaN();
  }
  refuse("is not a number");
}

const std::string& JsonPlace::text() const { return get<std::string>("text"); }

const std::string& JsonPlace::name() const {
  constexpr size_t longest = 1000;
  const auto& value = text();
  if (value.empty() || value.size() > longest || first_bad_byte(value) != std::string::npos ||
      value.find_first_of("\n\r\t") != std::string::npos)
    refuse(fmt::format("is {}; a name is one line of 1 to {} bytes", quote(value), longest));
  return value;
}

std::vector<std::string> JsonPlace::names() const {
  std::vector<std::string> result;
  for (const auto& item : items()) result.push_back(item.name());
  return result;
}

size_t JsonPlace::size() const {
  if (is_object()) return std::get<JsonValue::Object>(value_->content).size();
  return get<JsonValue::List>("a list").size();
}

std::vector<JsonPlace> JsonPlace::items() const {
  std::vector<JsonPlace> result;
  for (const auto& value : get<JsonValue::List>("a list")) result.push_back(JsonPlace(*file_, value));
  return result;
}

std::vector<std::pair<std::string_view, JsonPlace>> JsonPlace::members() const {
  std::vector<std::pair<std::string_view, JsonPlace>> result;
  for (const auto& member : get<JsonValue::Object>("an object")) result.emplace_back(member.name, JsonPlace(*file_, member.value));
  return result;
}

std::optional<JsonPlace> JsonPlace::find(std::string_view name) const {
  for (const auto& member : get<JsonValue::Object>("an object"))
    if (member.name == name && !std::holds_alternative<std::monostate>(member.value.content)) return JsonPlace(*file_, member.value);
  return {};
}

JsonPlace JsonPlace::member(std::string_view name) const {
  for (const auto& member : get<JsonValue::Object>("an object"))
    if (member.name == name) return {*file_, member.value};
  refuse(fmt::format("has no \"{}\"", name));
}

std::pair<std::string_view, JsonPlace> JsonPlace::choice() const {
  const auto& object = get<JsonValue::Object>("an object");
  if (object.size() != 1) refuse(fmt::format("has {} members where one is expected", object.size()));
  return {object.front().name, JsonPlace(*file_, object.front().value)};
}

void JsonPlace::only(std::initializer_list<std::string_view> names) const {
  for (const auto& member : get<JsonValue::Object>("an object")) {
    if (std::find(names.begin(), names.end(), member.name) != names.end()) continue;
    if (file_->newer)
      unusable(fmt::format("has {}, which this version of Levin does not know", quote(member.name)), "export the model with PyTorch 2.11");
    refuse(fmt::format("has an unknown member {}", quote(member.name)));
  }
}

std::string JsonPlace::where() const {
  std::string path;
  find_path(file_->root, value_, path);
  constexpr size_t longest = 300;
  if (path.size() > longest) path = "..." + path.substr(path.size() - longest);
  return fmt::format("{}: {}{}{}", file_->archive, file_->record, path.empty() ? "" : ", ", path);
}

void JsonPlace::refuse(const std::string& why) const { throw DataError(fmt::format("{} {}", where(), why), export_again, "exported"); }

void JsonPlace::unusable(const std::string& why, const std::string& remedy) const {
  throw ConfigError(fmt::format("{} {}", where(), why), remedy, "exported");
}

}  // namespace levin::exported
