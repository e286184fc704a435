#pragma once
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace levin::exported {

struct JsonMember;
/// A parsed value. Objects keep the order of their members, whose names differ.
struct JsonValue {
  using List = std::vector<JsonValue>;
  using Object = std::vector<JsonMember>;
  std::variant<std::monostate, bool, int64_t, double, std::string, List, Object> content;
};
struct JsonMember {
  std::string name;
  JsonValue value;
};

/// A JSON file of the archive. DataError for text that is not JSON, names that appear twice, and more than `most_depth` or `most_values`.
struct JsonFile {
  static constexpr size_t most_depth = 160, most_values = 4'000'000;
  JsonFile(std::string archive, std::string record, const std::string& text);

  std::string archive, record;  ///< for messages
  bool newer = false;           ///< of a newer version of the schema, which may have unknown members
  JsonValue root;
};

/// A value, with its file for messages. Valid as long as the file. All readers throw DataError, with file and place, for a value of another
/// type.
class JsonPlace {
 public:
  explicit JsonPlace(const JsonFile& file) : JsonPlace(file, file.root) {}

  bool is_null() const noexcept { return std::holds_alternative<std::monostate>(value_->content); }
  bool is_text() const noexcept { return std::holds_alternative<std::string>(value_->content); }
  bool is_object() const noexcept { return std::holds_alternative<JsonValue::Object>(value_->content); }

  bool boolean() const;
  int64_t integer(int64_t min = INT64_MIN, int64_t max = INT64_MAX) const;
  /// A number, or Python's words for what JSON cannot write: "Infinity", "-Infinity", "NaN".
  double number() const;
  const std::string& text() const;
  /// One line of at most 1,000 bytes, not empty.
  const std::string& name() const;
  std::vector<std::string> names() const;

  size_t size() const;  ///< of a list or an object
  std::vector<JsonPlace> items() const;
  std::vector<std::pair<std::string_view, JsonPlace>> members() const;
  JsonPlace member(std::string_view name) const;
  std::optional<JsonPlace> find(std::string_view name) const;  ///< empty if it is missing or null
  /// The one member of an object, as torch.export writes a union.
  std::pair<std::string_view, JsonPlace> choice() const;
  /// Refuses members of other names, whose meaning would be lost.
  void only(std::initializer_list<std::string_view> names) const;

  const JsonFile& file() const noexcept { return *file_; }
  /// "net.pt2: models/train.json, graph_module.graph.nodes[3]"
  std::string where() const;
  [[noreturn]] void refuse(const std::string& why) const;                               ///< DataError: a damaged file
  [[noreturn]] void unusable(const std::string& why, const std::string& remedy) const;  ///< ConfigError: a sound file

 private:
  JsonPlace(const JsonFile& file, const JsonValue& value) : file_(&file), value_(&value) {}
  template <class Type>
  const Type& get(const char* expected) const;

  const JsonFile* file_;
  const JsonValue* value_;
};

/// A list for messages, cut after some 200 bytes.
std::string listed(const std::vector<std::string>& names);

/// The remedy for a damaged archive.
constexpr auto export_again = "copy the archive again, or export the model again";

}  // namespace levin::exported
