#pragma once
#include <filesystem>
#include <string>

#include "levin/data/file_array.h"

namespace levin {

/// A tensor of a safetensors file. The file is checked like a checkpoint's: strict header, tensors that fill the file without gaps.
class SafetensorsArray : public FileArray {
 public:
  /// DataError, with the path, the names that the file has, and what to do, for an invalid file, a missing name or an fp8 or complex dtype;
  /// IoError where the file cannot be opened.
  SafetensorsArray(const std::filesystem::path& file, const std::string& name);
};

}  // namespace levin
