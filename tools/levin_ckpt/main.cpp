// levin-ckpt SUBCOMMAND …: looks at checkpoints, compares, converts and removes them, without MPI and without the program that wrote them.
#include <array>
#include <cstdio>
#include <iostream>

#include "levin/core/error.h"
#include "levin/core/text.h"
#include "levin/core/version.h"
#include "subcommands.h"

namespace {

struct Subcommand {
  const char *name, *help;
  int (*run)(const levin::ckpt::Words&);
};

constexpr std::array<Subcommand, 6> subcommands{{{"inspect", "what is in a checkpoint", levin::ckpt::inspect},
                                                 {"verify", "whether checkpoints are whole", levin::ckpt::verify},
                                                 {"diff", "how the tensors of two differ", levin::ckpt::diff},
                                                 {"export", "its weights as a safetensors file", levin::ckpt::export_weights},
                                                 {"import", "a safetensors file as a checkpoint", levin::ckpt::import_weights},
                                                 {"prune", "keep the newest and the best", levin::ckpt::prune}}};

int run(const levin::ckpt::Words& words) {
  if (words.empty() || words[0] == "--help" || words[0] == "-h") {
    std::cout << "levin-ckpt SUBCOMMAND …; levin-ckpt SUBCOMMAND --help says more\n";
    for (const auto& subcommand : subcommands) std::cout << "  " << subcommand.name << ": " << subcommand.help << "\n";
    return words.empty() ? static_cast<int>(levin::ExitCode::bad_config) : 0;
  }
  if (words[0] == "--version") {
    std::cout << "levin-ckpt " << levin::version << "\n";
    return 0;
  }
  std::vector<std::string> names;
  for (const auto& subcommand : subcommands) {
    if (subcommand.name == words[0]) return subcommand.run({words.begin() + 1, words.end()});
    names.emplace_back(subcommand.name);
  }
  throw levin::ConfigError(levin::quote(words[0]) + " is not a subcommand", "choose one of: " + levin::joined(names), "checkpoint");
}

int report(const std::string& message, levin::ExitCode code) {
  std::cerr << message << "\n";
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  using levin::ExitCode;
  try {
    const int code = run({argv + 1, argv + argc});
    if (!std::cout.flush())
      throw levin::IoError("the output cannot be written", "check whether the disk is full, or the reader of the pipe has ended",
                           "checkpoint");
    return code;
  } catch (const levin::UsageError& error) {  // what one kind of file holds, and the other does not
    return report(error.what() + std::string("; rename it, or leave it out"), ExitCode::bad_data);
  } catch (const levin::Error& error) {
    return report(error.what(), error.exit_code());
  } catch (const std::exception& error) {
    return report(error.what(), ExitCode::internal);
  }
}
