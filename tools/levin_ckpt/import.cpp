#include <fmt/format.h>

#include <iostream>

#include "arguments.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/checkpoint/safetensors.h"
#include "levin/core/error.h"
#include "levin/core/number_text.h"

namespace levin::ckpt {

int import_weights(const Words& words) {
  po::options_description options;
  options.add_options()("step", po::value<std::string>(), "of the checkpoint; by default the file's, or 0");
  const auto arguments = read_arguments(words, "import IN.safetensors CHECKPOINT_DIR",
                                        "a checkpoint of weights alone, for --ckpt_path of test and --init_from", options);
  if (!arguments) return 0;
  std::error_code unseen;
  auto target = std::filesystem::absolute(arguments->words[1], unseen).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // it ended with a slash
  if (std::filesystem::exists(std::filesystem::symlink_status(target, unseen)))
    throw ConfigError(fmt::format("{} exists already", target.string()), "give a new folder, or remove this one", "checkpoint");

  const SafetensorsReader file(arguments->words[0]);
  const auto recorded = file.metadata().find("step");
  const int64_t of_file = recorded == file.metadata().end() ? 0 : parse_number<int64_t>(recorded->second).value_or(0);
  const int64_t step = integer_option(*arguments, "step").value_or(std::max<int64_t>(of_file, 0));
  if (step < 0) throw ConfigError(fmt::format("--step {} is negative", step), "give 0 or more", "checkpoint");
  CheckpointState state;
  std::vector<std::vector<std::byte>> memory;
  for (const auto& tensor : file.tensors()) {
    auto& bytes = memory.emplace_back(static_cast<size_t>(tensor.bytes()));
    file.read(tensor.name, 0, tensor.numel(), bytes.data());
    const auto name = "model/" + tensor.name;
    state.tensors.push_back({name, tensor.dtype, tensor.shape});
    state.pieces.push_back({name, Hyperslab::range(0, tensor.numel()), bytes.data()});
  }
  CheckpointWriter writer(target.parent_path(), {.write_last = false, .remove_leftovers = false});
  const auto report = writer.save(
      {.name = target.filename().string(), .step = step, .fields = {{"imported_from", file.path().filename().string()}}}, state);
  std::cout << fmt::format("{}: step {}, {} tensors, {}\n", arguments->words[1], step, state.tensors.size(), size_text(report.bytes));
  return 0;
}

}  // namespace levin::ckpt
