#include <fmt/format.h>

#include <iostream>

#include "arguments.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/checkpoint/safetensors.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::ckpt {

int export_weights(const Words& words) {
  po::options_description options;
  options.add_options()("format", po::value<std::string>()->default_value("safetensors"), "only safetensors")(
      "prefix", po::value<std::string>()->default_value("model/"), "selects tensors whose names begin with it; removed from their names");
  const auto arguments =
      read_arguments(words, "export CHECKPOINT OUT.safetensors", "weights as a file that Python's safetensors reads", options);
  if (!arguments) return 0;
  if (const auto& format = arguments->options["format"].as<std::string>(); format != "safetensors")
    throw ConfigError(fmt::format("--format {} is not supported", sanitized(format)), "allowed: safetensors", "checkpoint");
  const auto& prefix = arguments->options["prefix"].as<std::string>();
  const CheckpointReader checkpoint(follow_last(arguments->words[0]));
  std::vector<TensorEntry> tensors;
  std::vector<std::string> names;
  uint64_t bytes = 0;
  for (const auto& [name, entry] : checkpoint.with_prefix(prefix)) {
    tensors.push_back({name, entry->dtype, entry->shape});
    names.push_back(entry->name);
    bytes += static_cast<uint64_t>(entry->bytes());
  }
  if (tensors.empty())
    throw ConfigError(fmt::format("{} has no tensor whose name begins with {}", checkpoint.path().string(), quote(prefix)),
                      "levin-ckpt inspect shows their names", "checkpoint");
  const auto& manifest = checkpoint.manifest();
  const std::map<std::string, std::string> metadata{
      {"format", "pt"}, {"step", fmt::to_string(manifest.step)}, {"epoch", fmt::to_string(manifest.epoch)}};
  const auto read = [&](size_t i, int64_t begin, int64_t end, void* memory) { checkpoint.read(names[i], begin, end, memory); };
  write_safetensors(arguments->words[1], tensors, metadata, read);
  std::cout << fmt::format("{}: {} tensors, {}\n", arguments->words[1], tensors.size(), size_text(bytes));
  return 0;
}

}  // namespace levin::ckpt
