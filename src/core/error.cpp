#include "levin/core/error.h"

namespace levin {

Error::Error(ExitCode code, std::string tag, const std::string& message, const std::string& remedy)
    : std::runtime_error("[" + tag + "] " + message + (remedy.empty() ? "" : "; " + remedy)),
      code_(code),
      tag_(std::move(tag)),
      remedy_(remedy) {}

}  // namespace levin
