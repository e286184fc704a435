#pragma once
#include <filesystem>

#include "levin/data/file_array.h"

namespace levin {

/// The array of a .npy file, as numpy.save writes it (formats 1.0 to 3.0). Nothing in the file is trusted: C order, a little-endian number
/// or bool, and exactly as many bytes as its shape needs.
class NpyArray : public FileArray {
 public:
  /// DataError, with the path and what to do, for anything else; IoError where the file cannot be opened.
  explicit NpyArray(const std::filesystem::path& file);
};

}  // namespace levin
