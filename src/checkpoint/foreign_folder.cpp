#include "foreign_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "../core/file.h"
#include "../core/safetensors_index.h"
#include "levin/checkpoint/manifest.h"

namespace levin::detail {
namespace {

namespace fs = std::filesystem;

constexpr auto merge =
    "give its model.safetensors.index.json, or merge the files in Python: safetensors.torch.save_file of the load_file of all";

}  // namespace

ForeignFormat foreign_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(folder / Manifest::file_name, error))) return {};
  auto parts = list_directory(folder, error);
  const auto index = std::find_if(parts.begin(), parts.end(), SafetensorsIndex::is_index);
  const auto of_index = index == parts.end() ? std::string() : fmt::format("give the index: {}", index->string());
  std::erase_if(parts, [](const auto& path) { return path.extension() != ".safetensors"; });
  if (parts.empty()) return {};
  if (parts.size() == 1) return {"a folder with a safetensors file, not a checkpoint", fmt::format("give the file: {}", parts[0].string())};
  return {fmt::format("a folder with {} safetensors files, not a checkpoint", parts.size()), of_index.empty() ? merge : of_index};
}

}  // namespace levin::detail
