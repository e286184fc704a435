#include "process.h"

#include <fmt/format.h>

#include <cstring>

#include "../../src/cluster/spawn_settings.h"
#include "levin/core/error.h"

extern char** environ;

namespace levin::sweep {
pid_t start_process(const std::vector<std::string>& words, const std::filesystem::path& output, const sigset_t& defaults) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));  // posix_spawn changes none
  arguments.push_back(nullptr);
  detail::SpawnSettings settings(defaults);
  posix_spawn_file_actions_addopen(&settings.actions, STDOUT_FILENO, output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  posix_spawn_file_actions_adddup2(&settings.actions, STDOUT_FILENO, STDERR_FILENO);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, arguments.front(), &settings.actions, &settings.attributes, arguments.data(), environ);
  if (error != 0)
    throw IoError(fmt::format("cannot start {} with its output in {}: {}", words.front(), output.string(), std::strerror(error)),
                  "look for the launcher in PATH, and for room in sweep_dir", "sweep");
  return pid;
}

}  // namespace levin::sweep
