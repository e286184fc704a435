#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace levin::detail {

/// model.safetensors.index.json: the files of a model in several files, as the Hugging Face hub has them.
struct SafetensorsIndex {
  std::map<std::string, std::string> file_of;  ///< by the tensor's name: a file in the index's folder

  /// By its name, "….index.json".
  static bool is_index(const std::filesystem::path& path);
  /// The JSON of an index, a symbolic link to which is followed. DataError, with `tag` and the path, for a file that is too large.
  static std::string read_text(const std::filesystem::path& path, const char* tag);
  /// Nothing in the text is trusted. DataError, with `path`, for an invalid index, and for files outside of its folder.
  static SafetensorsIndex from_text(std::string_view text, const std::filesystem::path& path, const char* tag);
};

}  // namespace levin::detail
