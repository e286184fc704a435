#include "foreign_folder.h"

#include <fmt/format.h>

#include <vector>

#include "../core/file.h"
#include "levin/checkpoint/manifest.h"

namespace levin::detail {
namespace {

namespace fs = std::filesystem;

constexpr auto merge = "merge the parts into one file in Python: safetensors.torch.save_file of the load_file of all parts";

}  // namespace

ForeignFormat foreign_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(folder / Manifest::file_name, error))) return {};
  auto parts = list_directory(folder, error);
  std::erase_if(parts, [](const auto& path) { return path.extension() != ".safetensors"; });
  if (parts.empty()) return {};
  if (parts.size() == 1) return {"a folder with a safetensors file, not a checkpoint", fmt::format("give the file: {}", parts[0].string())};
  return {fmt::format("a folder with {} safetensors files, not a checkpoint; a model in several files is not supported", parts.size()),
          merge};
}

}  // namespace levin::detail
