#include <fmt/format.h>

#include <iostream>

#include "arguments.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"

namespace levin::ckpt {

int verify(const Words& words) {
  const auto arguments =
      read_arguments(words, "verify CHECKPOINT…", "every byte against its checksum; a folder of checkpoints stands for all of them", {});
  if (!arguments) return 0;
  int code = 0;
  const auto fails = [&](const std::string& message, ExitCode with) {
    std::cerr << message << "\n";
    if (code == 0) code = static_cast<int>(with);
  };
  const auto check_path = [&](const std::filesystem::path& path) {
    try {
      const CheckpointReader reader(path);
      std::cout << fmt::format("{}: good, step {}, {} tensors, {}\n", path.string(), reader.manifest().step, reader.tensors().size(),
                               size_text(reader.manifest().file_bytes()));
    } catch (const Error& error) {
      fails(error.what(), error.exit_code());
    }
  };
  for (const auto& word : arguments->words) {
    const std::filesystem::path path = follow_last(word);
    const auto listing = list_checkpoints(path);
    for (const auto& why : listing.refused) fails(why, ExitCode::bad_data);
    for (const auto& checkpoint : listing.checkpoints) check_path(checkpoint.path);
    if (listing.checkpoints.empty() && listing.refused.empty()) check_path(path);
  }
  return code;
}

}  // namespace levin::ckpt
