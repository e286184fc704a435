#pragma once
#include <unistd.h>

#include <array>
#include <string>

namespace levin::detail {

/// This host's name; "host" if the system does not say.
inline std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "host";
}

}  // namespace levin::detail
