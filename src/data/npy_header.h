#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace levin::detail {

/// The dictionary in a .npy file.
struct NpyHeader {
  std::string descr;  ///< "<f4"
  bool fortran_order = false;
  std::vector<int64_t> shape;

  /// Parses the literal that numpy writes, `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, its keys in any order and each
  /// once. Calls `refuse`, which throws, with what is wrong.
  static NpyHeader from_text(std::string_view text, const std::function<void(const std::string& why)>& refuse);
};

}  // namespace levin::detail
