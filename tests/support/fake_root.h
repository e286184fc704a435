#pragma once
// /proc and /sys of a machine that does not exist.
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace levin::test {

/// A folder that stands for / and is removed with its object.
class FakeRoot {
 public:
  FakeRoot() {
    std::string name = (std::filesystem::temp_directory_path() / "levin_root.XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~FakeRoot() {
    std::error_code unseen;
    std::filesystem::remove_all(path, unseen);
  }
  FakeRoot(const FakeRoot&) = delete;
  FakeRoot& operator=(const FakeRoot&) = delete;
  void set(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories((path / file).parent_path());
    std::ofstream(path / file) << text;
  }

  std::filesystem::path path;
};

}  // namespace levin::test
