#include "gpt_data.h"

#include <ATen/ops/zeros.h>

#include <cstdlib>

#include "levin/core/error.h"
#include "levin/data/tensor_dataset.h"
#include "levin/data/token_dataset.h"
#include "levin/data/token_file.h"
#include "levin/trainer/trainer.h"

namespace gpt {
namespace {

namespace fs = std::filesystem;
using levin::Tensor;

fs::path default_corpus() {
  fs::path words = "/usr/share/dictd/wn.dict.dz";  // WordNet as a dictionary: 31 MB of text, gzip
  if (std::error_code unseen; fs::exists(words, unseen)) return words;
  throw levin::DataError(fmt::format("{} does not exist", words.string()),
                         "install the Debian package dict-wn, or give text files with --data.files");
}

fs::path default_cache() {
  const char* cache = std::getenv("LEVIN_CACHE");
  return fs::path(cache && *cache ? cache : ".cache") / "tokens";
}

}  // namespace

void GptDataConfig::validate() const {
  if (val_part + test_part >= 1)
    throw levin::ConfigError(fmt::format("data.val_part and data.test_part are {} and {}", val_part, test_part),
                             "leave a part of the text to train on");
  for (const auto& prompt : prompts)
    if (prompt.empty()) throw levin::ConfigError("data.prompts has an empty one", "give at least a byte to begin with");
}

void GptData::setup(levin::Stage stage) {
  if (train_ || stage == levin::Stage::predict) return;
  const auto files = config_.files.empty() ? std::vector{default_corpus()} : config_.files;
  const auto cache = config_.cache.empty() ? default_cache() : config_.cache;
  const auto file = levin::make_token_file(files, cache, trainer().session().communicator());
  const auto tokens = std::make_shared<const levin::Hdf5Array>(file, "tokens");
  const int64_t all = tokens->rows();
  const auto part = [all](double of) { return static_cast<int64_t>(of * static_cast<double>(all)); };
  const int64_t test = all - part(config_.test_part), val = test - part(config_.val_part);
  const auto cut = [&](int64_t begin, int64_t end) -> std::shared_ptr<const levin::Dataset> {
    if (begin == end) return nullptr;
    return std::make_shared<levin::TokenDataset>(tokens, config_.context, begin, end);
  };
  train_ = cut(0, val), val_ = cut(val, test), test_ = cut(test, all);
}

levin::DataLoaderSpec GptData::predict_dataloader() {
  if (config_.prompts.empty()) return {};
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
  return {std::shared_ptr<levin::TensorDataset>(new levin::TensorDataset{{"input", input}, {"length", length}}), config_.loader};
}

}  // namespace gpt
