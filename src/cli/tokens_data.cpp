#include "levin/cli/tokens_data.h"

#include <ATen/ops/zeros.h>

#include <cstdlib>

#include "levin/core/error.h"
#include "levin/core/text.h"
#include "levin/data/hdf5_array.h"
#include "levin/data/npy_array.h"
#include "levin/data/tensor_dataset.h"
#include "levin/data/token_dataset.h"
#include "levin/data/token_file.h"
#include "levin/data/transform_dataset.h"
#include "levin/trainer/trainer.h"

namespace levin::cli {
namespace {

namespace fs = std::filesystem;

fs::path default_token_cache() {
  const char* cache = std::getenv("LEVIN_CACHE");
  return fs::path(cache && *cache ? cache : ".cache") / "tokens";
}

bool is_default_batch(const std::map<std::string, std::string>& batch) {
  return batch == std::map<std::string, std::string>{{"input", "input"}, {"target", "target"}};
}

}  // namespace

void TokensDataConfig::validate() const {
  if (val_part + test_part >= 1)
    throw ConfigError(fmt::format("data.val_part and data.test_part are {} and {}", val_part, test_part),
                      "leave a part of the text to train on");
  for (const auto& prompt : prompts)
    if (prompt.empty()) throw ConfigError("data.prompts has an empty one", "give at least a byte to begin with");
  if (!files.empty() && !tokens.empty()) throw ConfigError("data.files and data.tokens are both given", "give one of them");
  if (batch.empty()) throw ConfigError("data.batch is empty", "name the tensors of a batch, as {input: input, target: target}");
  for (const auto& [name, source] : batch)
    if (source != "input" && source != "target")
      throw ConfigError(fmt::format("data.batch.{} is {}", sanitized(name), quote(source)),
                        "give input, or target, the tokens that follow");
}

std::vector<fs::path> TokensData::text_files() const {
  if (config_.files.empty())
    throw ConfigError("neither data.files nor data.tokens is given", "name text files, as --data.files '[a.txt, folder]'");
  return config_.files;
}

std::shared_ptr<const FileArray> TokensData::open() const {
  const auto& file = config_.tokens;
  if (file.extension() == ".npy") return std::make_shared<NpyArray>(file);
  if (!file.empty()) return std::make_shared<Hdf5Array>(file, "tokens");
  const auto cache = config_.cache.empty() ? default_token_cache() : config_.cache;
  return std::make_shared<Hdf5Array>(make_token_file(text_files(), cache, trainer().session().communicator()), "tokens");
}

void TokensData::setup(Stage stage) {
  if (train_ || (stage == Stage::predict && !config_.prompts.empty())) return;
  const auto tokens = open();
  const int64_t all = tokens->rows();
  const auto part = [all](double of) { return static_cast<int64_t>(of * static_cast<double>(all)); };
  const int64_t test = all - part(config_.test_part), val = test - part(config_.val_part);
  const auto cut = [&](int64_t begin, int64_t end) -> std::shared_ptr<const Dataset> {
    if (begin == end) return nullptr;
    auto windows = std::make_shared<TokenDataset>(tokens, config_.context, begin, end);
    if (is_default_batch(config_.batch)) return windows;
    return std::make_shared<TransformDataset>(std::move(windows), [batch = config_.batch](const Batch& source, Batch& into) {
      for (const auto& [name, tensor] : batch) into.set(name, source[tensor]);
      into.set_weight(source.weight());
    });
  };
  train_ = cut(0, val), val_ = cut(val, test), test_ = cut(test, all);
}

DataLoaderSpec TokensData::predict_dataloader() {
  if (config_.prompts.empty()) return test_dataloader();
  size_t longest = 0;
  for (const auto& prompt : config_.prompts) longest = std::max(longest, prompt.size());
  const Tensor input = at::zeros({std::ssize(config_.prompts), static_cast<int64_t>(longest)}, at::kLong);
  const Tensor length = at::zeros({std::ssize(config_.prompts)}, at::kLong);
  for (int64_t i = 0; i < length.numel(); i++) {
    const auto& prompt = config_.prompts[static_cast<size_t>(i)];
    length.mutable_data_ptr<int64_t>()[i] = std::ssize(prompt);
    auto* row = input.mutable_data_ptr<int64_t>() + i * input.size(1);
    for (size_t byte = 0; byte < prompt.size(); byte++) row[byte] = static_cast<unsigned char>(prompt[byte]);
  }
  return {std::shared_ptr<TensorDataset>(new TensorDataset{{"input", input}, {"length", length}}), config_.loader};
}

}  // namespace levin::cli
