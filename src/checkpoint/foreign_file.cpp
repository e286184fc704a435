#include "foreign_file.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "../core/file.h"
#include "levin/checkpoint/manifest.h"

namespace levin::detail {
namespace {

namespace fs = std::filesystem;

constexpr auto convert = "convert it in Python: safetensors.torch.save_file(torch.load(IN, weights_only=True), OUT)";
constexpr auto merge = "merge the parts into one file in Python: safetensors.torch.save_file of the load_file of all parts";

struct Magic {
  std::string_view bytes, kind, remedy;
};

constexpr std::array formats{
    Magic{"PK\3\4", "a zip archive, as torch.save writes", convert},
    Magic{"\x80\2", "a pickle, as torch.save writes", convert},
    Magic{"\x89HDF\r\n\x1a\n", "an HDF5 file", "give the directory of a checkpoint, or convert the weights to safetensors"},
    Magic{"GGUF", "a GGUF file", "use the weights from which it was converted"},
    Magic{"version ", "a Git LFS pointer, not the file itself", "fetch the file: git lfs pull"},
    Magic{"{", "JSON",
          "give the safetensors file itself; an index of a model in several files is not supported: merge the parts into one file"},
};

}  // namespace

ForeignFormat foreign_file(std::string_view first_bytes) {
  for (const auto& format : formats)
    if (first_bytes.starts_with(format.bytes)) return {std::string(format.kind), std::string(format.remedy)};
  return {};
}

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
