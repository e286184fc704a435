#pragma once
#include <filesystem>

#include "../core/foreign_format.h"

namespace levin::detail {

/// Detects a folder that has safetensors files and no manifest; empty for any other. `remedy` names the file if it is the only one.
ForeignFormat foreign_folder(const std::filesystem::path& folder);

}  // namespace levin::detail
