#include "samples.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <fstream>

#include "levin/core/error.h"

namespace gan {

void write_grid(const levin::Tensor& images, const std::filesystem::path& file) {
  const auto bytes = (images.to(at::kCPU, at::kFloat) * 255).round().clamp(0, 255).to(at::kByte);
  const int64_t count = bytes.size(0), height = bytes.size(1), width = bytes.size(2);
  const auto columns = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(count)))), rows = (count + columns - 1) / columns;
  const auto grid = at::zeros({rows * height, columns * width}, at::kByte);
  for (int64_t i = 0; i < count; i++) grid.narrow(0, i / columns * height, height).narrow(1, i % columns * width, width).copy_(bytes[i]);
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  std::ofstream out(file, std::ios::binary);
  out << "P5\n" << grid.size(1) << ' ' << grid.size(0) << "\n255\n";
  out.write(static_cast<const char*>(grid.const_data_ptr()), grid.numel());
  if (!out.flush()) throw levin::IoError(fmt::format("cannot write {}", file.string()), "see whether the file system is full", "gan");
}

}  // namespace gan
