#pragma once
#include <string>
#include <string_view>

namespace levin::detail {

/// A format of weights that Levin does not read: its name, such as "a zip archive, as torch.save writes", and how to convert it.
struct ForeignFormat {
  std::string kind, remedy;
  explicit operator bool() const noexcept { return !kind.empty(); }
};

/// Detects the format from the first 8 bytes of a file; empty for an unknown format.
ForeignFormat foreign_format(std::string_view first_bytes);

}  // namespace levin::detail
