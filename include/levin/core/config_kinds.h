#pragma once
// The kinds of config types that are not structs; config_type_of.h fills them in for C++ types.
#include "levin/core/config_type.h"

namespace levin {

/// A value written as one word: numbers, text, paths, enums, sizes, durations.
class ScalarType : public ConfigType {
 public:
  std::string allowed(const Constraints& constraints) const override;
  void read(void* object, const ConfigValue& value, const ConfigLocation& location) const override;
  void check(const void* object, const ConfigLocation& location) const override;
  ConfigValue write(const void* object) const override;

 protected:
  /// Sets the object if the text is one of this type, else false.
  virtual bool from_text(void* object, std::string_view text) const = 0;
  virtual std::string to_text(const void* object) const = 0;
  /// For constraints of range; nothing for text.
  virtual std::optional<long double> number(const void*) const { return std::nullopt; }
  /// Text is quoted where it could be taken for something else.
  virtual bool is_text() const noexcept { return false; }
  /// The names there are, for "did you mean".
  virtual std::vector<std::string> names() const { return {}; }

 private:
  /// What is wrong with the object, or "".
  std::string complaint(const void* object, const Constraints& constraints) const;
};

/// std::optional: null, or what it holds.
class OptionalType : public ConfigType {
 public:
  std::string name() const override { return inner().name(); }
  std::string allowed(const Constraints& constraints) const override { return inner().allowed(constraints) + ", or null"; }
  void read(void* object, const ConfigValue& value, const ConfigLocation& location) const override;
  void check(const void* object, const ConfigLocation& location) const override;
  ConfigValue write(const void* object) const override;
  void make_absolute(void* object, const std::filesystem::path& base) const override;
  const StructType* as_struct() const noexcept override { return inner().as_struct(); }
  const ChoiceType* as_choice() const noexcept override { return inner().as_choice(); }
  bool is_bool() const noexcept override { return inner().is_bool(); }
  bool is_map() const noexcept override { return inner().is_map(); }
  bool is_compound() const noexcept override { return inner().is_compound(); }

  virtual const ConfigType& inner() const = 0;

 protected:
  virtual void* emplace(void* object) const = 0;
  virtual void reset(void* object) const = 0;
};

/// std::vector: [a, b].
class SequenceType : public ConfigType {
 public:
  std::string name() const override { return "list of " + item().name(); }
  std::string allowed(const Constraints& constraints) const override { return "a list [a, b] of: " + item().allowed(constraints); }
  void read(void* object, const ConfigValue& value, const ConfigLocation& location) const override;
  void check(const void* object, const ConfigLocation& location) const override;
  ConfigValue write(const void* object) const override;
  void make_absolute(void* object, const std::filesystem::path& base) const override;
  bool is_compound() const noexcept override { return true; }

 protected:
  virtual const ConfigType& item() const = 0;
  virtual size_t size(const void* object) const = 0;
  virtual std::shared_ptr<void> get(const void* object, size_t index) const = 0;
  virtual void clear(void* object) const = 0;
  virtual void append(void* object, std::shared_ptr<void> item) const = 0;
};

/// std::map from text: {a: 1, b: 2}. A map that is given replaces the one before; a dotted name sets one entry.
class MapType : public ConfigType {
 public:
  std::string name() const override { return "map of " + item().name(); }
  std::string allowed(const Constraints& constraints) const override { return "a map {key: value} of: " + item().allowed(constraints); }
  void read(void* object, const ConfigValue& value, const ConfigLocation& location) const override;
  void check(const void* object, const ConfigLocation& location) const override;
  ConfigValue write(const void* object) const override;
  void make_absolute(void* object, const std::filesystem::path& base) const override;
  bool is_map() const noexcept override { return true; }
  bool is_compound() const noexcept override { return true; }

  virtual const ConfigType& item() const = 0;

 protected:
  virtual std::vector<std::pair<std::string, const void*>> entries(const void* object) const = 0;
  virtual void clear(void* object) const = 0;
  virtual void* at(void* object, const std::string& key) const = 0;
};

/// One way that a choice can be made: a described struct with a name and other names that are accepted.
struct Alternative {
  std::vector<std::string> names;
  const StructType* type;
};

/// std::variant of named structs: `ddp`, or `{name: ddp, bucket: 25 MiB}`. Without a name, the fields are those of the one chosen already.
class ChoiceType : public ConfigType {
 public:
  explicit ChoiceType(std::vector<Alternative> alternatives);
  std::string name() const override;
  void read(void* object, const ConfigValue& value, const ConfigLocation& location) const override;
  void check(const void* object, const ConfigLocation& location) const override;
  ConfigValue write(const void* object) const override;
  void make_absolute(void* object, const std::filesystem::path& base) const override;
  const ChoiceType* as_choice() const noexcept override { return this; }
  bool is_compound() const noexcept override { return true; }

  const std::vector<Alternative>& alternatives() const noexcept { return alternatives_; }
  virtual size_t index(const void* object) const = 0;
  virtual const void* chosen(const void* object) const = 0;

 protected:
  virtual void emplace(void* object, size_t index) const = 0;

 private:
  void choose(void* object, const ConfigValue& name, const ConfigLocation& location, const ConfigLocation& location_of_name) const;
  std::vector<Alternative> alternatives_;
};

}  // namespace levin
