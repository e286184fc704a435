#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "levin/core/config.h"

namespace levin::cli {

/// Files of a config: `a.h5`, or `[a.h5, b.h5]`. A single path is written back as a path; an empty path means no file.
struct PathList {
  std::vector<std::filesystem::path> paths = {};
};

}  // namespace levin::cli

namespace levin::detail {

template <>
class TypeOf<cli::PathList> : public SequenceType {
 public:
  std::string name() const override { return "path or list of paths"; }
  std::string allowed(const Constraints&) const override { return "a path, or a list [a, b] of paths"; }
  void read(void* object, const ConfigValue& value, const ConfigLocation& location) const override;
  ConfigValue write(const void* object) const override;
  std::shared_ptr<void> make() const override { return std::make_shared<cli::PathList>(); }

 protected:
  const ConfigType& item() const override { return config_type<std::filesystem::path>(); }
  size_t size(const void* object) const override { return of(object).size(); }
  std::shared_ptr<void> get(const void* object, size_t index) const override {
    return std::make_shared<std::filesystem::path>(of(object)[index]);
  }
  void clear(void* object) const override { static_cast<cli::PathList*>(object)->paths.clear(); }
  void append(void* object, std::shared_ptr<void> item) const override {
    static_cast<cli::PathList*>(object)->paths.push_back(*static_cast<std::filesystem::path*>(item.get()));
  }

 private:
  static const std::vector<std::filesystem::path>& of(const void* object) { return static_cast<const cli::PathList*>(object)->paths; }
};

}  // namespace levin::detail
