#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace levin::detail {

/// A format of weights that Levin does not read: its name, such as "a zip archive, as torch.save writes", and how to convert it.
struct ForeignFormat {
  std::string kind, remedy;
  explicit operator bool() const noexcept { return !kind.empty(); }
};

/// Detects the format from the first 8 bytes of a file; empty for an unknown format.
ForeignFormat foreign_file(std::string_view first_bytes);
/// Detects a folder that has safetensors files and no manifest; empty for any other. `remedy` names the file if it is the only one.
ForeignFormat foreign_folder(const std::filesystem::path& folder);

}  // namespace levin::detail
