#include "levin/cli/devices.h"

namespace levin {

std::string shell_quoted(const std::string& word) {
  constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,+@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string quoted = "'";
  for (char c : word) {
    if (c == '\'')
      quoted += "'\\''";
    else
      quoted += c;
  }
  return quoted += '\'';
}

ConfigError explain_devices(int64_t ranks_wanted, int ranks_running, const std::vector<std::string>& command) {
  std::string words;
  for (const auto& word : command) words += fmt::format(" {}", shell_quoted(word));
  return ConfigError(fmt::format("trainer.devices is {}, but the program was started as {} {}", ranks_wanted, ranks_running,
                                 ranks_running == 1 ? "rank" : "ranks"),
                     fmt::format("start it with a launcher:\n  mpirun -n {0}{1}\n  srun -n {0}{1}", ranks_wanted, words));
}

}  // namespace levin
