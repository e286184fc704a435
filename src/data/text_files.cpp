#include "text_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "../core/file.h"
#include "levin/core/error.h"

namespace levin::detail {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& operation, const std::error_code& error) {
  throw IoError(fmt::format("{}: {}", operation, error.message()), "make it readable, or name other files", "data");
}

[[noreturn]] void fail_folder(const fs::path& folder, const std::error_code& error) {
  fail(fmt::format("cannot read the folder {}", folder.string()), error);
}

fs::file_type type_of(const fs::path& path) {
  std::error_code error;
  const auto type = fs::status(path, error).type();
  if (type == fs::file_type::none) fail(fmt::format("cannot look at {}", path.string()), error);
  return type;
}

class Walk {
 public:
  std::vector<fs::path> below(const fs::path& folder) {
    inspect(folder);
    // A list instead of recursion: the depth of a tree must not choose the depth of our stack.
    while (!folders_.empty()) {
      const auto next = std::move(folders_.back());
      folders_.pop_back();
      inspect(next);
    }
    std::sort(files_.begin(), files_.end());
    return std::move(files_);
  }

 private:
  void inspect(const fs::path& folder) {
    std::error_code error;
    const auto real = fs::canonical(folder, error);
    if (error) fail_folder(folder, error);
    if (!visited_.insert(real).second) return;
    auto entries = list_directory(folder, error);
    if (error) fail_folder(folder, error);
    std::sort(entries.begin(), entries.end());  // so that the same link is followed first on every file system
    for (const auto& path : entries) {
      if (path.filename().string().starts_with('.')) continue;
      const auto type = type_of(path);
      if (type == fs::file_type::not_found)
        throw DataError(fmt::format("{} is a symbolic link to a missing file", path.string()), "remove the link, or mend it");
      if (type == fs::file_type::directory) folders_.push_back(path);
      if (type == fs::file_type::regular) files_.push_back(path);
    }
  }

  std::set<fs::path> visited_;  // by their real paths
  std::vector<fs::path> folders_, files_;
};

}  // namespace

std::vector<fs::path> text_files(const std::vector<fs::path>& sources) {
  std::vector<fs::path> files;
  for (const auto& source : sources) {
    const auto type = type_of(source);
    if (type == fs::file_type::not_found)
      throw DataError(fmt::format("{} is missing", source.string()), "give text files, or folders of them");
    if (type != fs::file_type::directory) {
      files.push_back(source);
      continue;
    }
    const auto below = Walk().below(source);
    files.insert(files.end(), below.begin(), below.end());
  }
  return files;
}

}  // namespace levin::detail
