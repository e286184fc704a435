#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace levin::detail {

/// A file or folder of weights in a format that Levin does not read: "a zip archive, as torch.save writes", and how to convert it.
struct ForeignFormat {
  std::string kind, remedy;
  explicit operator bool() const noexcept { return !kind.empty(); }
};

/// By the first bytes of a file (8 are enough); empty for an unknown format.
ForeignFormat foreign_file(std::string_view first_bytes);
/// A folder without a manifest that has safetensors files; empty for any other. `remedy` names the file where there is only one.
ForeignFormat foreign_folder(const std::filesystem::path& folder);

}  // namespace levin::detail
