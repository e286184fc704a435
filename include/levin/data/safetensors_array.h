#pragma once
#include <filesystem>
#include <string>

#include "levin/data/file_array.h"

namespace levin {

/// A tensor of a safetensors file, or of the files that a model.safetensors.index.json lists. The file is checked like a checkpoint's:
/// strict header, tensors that fill the file without gaps.
class SafetensorsArray : public FileArray {
 public:
  /// What to do with F8_E4M3 and F8_E5M2: refuse, or read them as they are, for a caller who converts them.
  enum class Fp8 { refuse, read };
  /// DataError, with the path, the names that the file has, and what to do, for an invalid file, a missing name or an fp8 or complex dtype;
  /// IoError where the file cannot be opened.
  SafetensorsArray(const std::filesystem::path& file, const std::string& name, Fp8 fp8 = Fp8::refuse);
};

}  // namespace levin
