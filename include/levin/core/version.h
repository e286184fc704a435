#pragma once

namespace levin {

inline constexpr const char* version = "0.1.0";

}  // namespace levin
