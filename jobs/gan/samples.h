#pragma once
#include <filesystem>

#include "levin/core/tensor.h"

namespace gan {

/// Images [n, height, width] of pixels from 0 to 1, in rows of about sqrt(n), as a portable grey map. IoError.
void write_grid(const levin::Tensor& images, const std::filesystem::path& file);

}  // namespace gan
