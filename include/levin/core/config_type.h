#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "levin/core/config_value.h"

namespace levin {

/// A bound with the text that says it: at_least(Seconds{30}) is "30 s".
struct Bound {
  long double number;
  std::string text;
  bool itself_allowed = true;
};

/// What a field's modifiers ask of it; for a list, map or optional: of what is in it.
struct Constraints {
  std::optional<Bound> least, most;
  std::vector<std::string> one_of;
  bool infinite_allowed = false;
  bool flattened = false;
};

/// Where a config is being read: the path of the field, what is asked of it, and which paths have been set by whom.
struct ConfigLocation {
  std::string path;
  const Constraints* constraints = nullptr;
  std::map<std::string, ConfigSource>* set = nullptr;

  ConfigLocation field(std::string_view name, const Constraints* of_field) const;
  ConfigLocation item(size_t index) const;
  void record(const ConfigSource& source) const;
  /// What was set below this path counts no longer.
  void forget_fields() const;
  /// Throws ConfigError `file:line:column: path: what; remedy`.
  [[noreturn]] void fail(const ConfigSource& source, const std::string& message, const std::string& remedy = {}) const;
};

class StructType;
class ChoiceType;
class OpenChoiceType;

/// How values of one C++ type are read from a config, written, checked and explained. Objects are passed as untyped pointers, so that
/// options, files, --help and a checkpoint's comparison of configs share one description; levin::read and levin::write are the typed way
/// in.
class ConfigType {
 public:
  virtual ~ConfigType() = default;
  /// The type for a reader: "integer", "list of number", "one of: sum, mean".
  virtual std::string name() const = 0;
  /// The same with what the constraints allow: "integer, at least 1".
  virtual std::string allowed(const Constraints& constraints) const;
  /// The same for this object, where what is allowed is the object's own.
  virtual std::string allowed_for(const void* /*object*/, const Constraints& constraints) const { return allowed(constraints); }
  /// Sets the object. Fields that the value does not name keep what they have. ConfigError for what is not allowed.
  virtual void read(void* object, const ConfigValue& value, const ConfigLocation& location) const = 0;
  /// Refuses an object that breaks a constraint or a validate() of its own.
  virtual void check(const void* object, const ConfigLocation& location) const = 0;
  virtual ConfigValue write(const void* object) const = 0;
  /// An object as its type makes it by default.
  virtual std::shared_ptr<void> make() const = 0;
  /// Resolves the relative paths in the object against `base`, an absolute directory. Empty paths stay empty.
  virtual void make_absolute(void* /*object*/, const std::filesystem::path& /*base*/) const {}

  /// The described struct or the choice that this is, or that an optional may hold; nullptr for others.
  virtual const StructType* as_struct() const noexcept { return nullptr; }
  virtual const ChoiceType* as_choice() const noexcept { return nullptr; }
  virtual const OpenChoiceType* as_open_choice() const noexcept { return nullptr; }
  /// The object inside (of an optional: nullptr when it is empty).
  virtual const void* inside(const void* object) const { return object; }
  /// A bare --name on the command line means true.
  virtual bool is_bool() const noexcept { return false; }
  /// Any key is a field: a map.
  virtual bool is_map() const noexcept { return false; }
  /// Text on a command line that begins with [ or { is YAML: lists, maps, structs and choices.
  virtual bool is_compound() const noexcept { return false; }
};

/// One described field of a struct.
struct ConfigField {
  std::string name, help;
  Constraints constraints;
  const ConfigType& (*type)();
  void* (*member)(void* object);

  void* in(void* object) const { return member(object); }
  const void* in(const void* object) const { return member(const_cast<void*>(object)); }
};

/// A described struct: LEVIN_CONFIG makes it.
class StructType : public ConfigType {
 public:
  using Make = std::shared_ptr<void> (*)();
  using Validate = void (*)(const void* object);
  StructType(std::string name, Make make, Validate validate, std::vector<ConfigField> fields);

  std::string name() const override { return name_; }
  void read(void* object, const ConfigValue& value, const ConfigLocation& location) const override;
  void check(const void* object, const ConfigLocation& location) const override;
  ConfigValue write(const void* object) const override;
  std::shared_ptr<void> make() const override { return make_(); }
  void make_absolute(void* object, const std::filesystem::path& base) const override;
  const StructType* as_struct() const noexcept override { return this; }
  bool is_compound() const noexcept override { return true; }

  const std::vector<ConfigField>& fields() const noexcept { return fields_; }
  /// All keys, those of flattened structs among them.
  std::vector<std::string> keys() const;
  /// Sets one field; false when there is no such key.
  bool read_entry(void* object, const ConfigEntry& entry, const ConfigLocation& location) const;
  /// The field of this key, also of a flattened struct, or nullptr.
  const ConfigField* find(std::string_view key) const;
  /// The key of the field that lies at this place of the object and has this type; empty: none.
  std::string key_of(const void* object, const void* member, const ConfigType& type) const;

 private:
  std::string name_;
  Make make_;
  Validate validate_;
  std::vector<ConfigField> fields_;
};

}  // namespace levin
