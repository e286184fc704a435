#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "levin/core/config.h"
#include "levin/data/data_loader_options.h"
#include "levin/trainer/data_module.h"

namespace levin {
class FileArray;
}

namespace levin::cli {

/// `--data tokens`: windows of tokens for a language model. The tokens are the bytes of text files, or those that a tokenizer wrote.
struct TokensDataConfig {
  std::vector<std::filesystem::path> files = {};
  std::filesystem::path tokens = {};
  std::filesystem::path cache = {};
  int64_t context = 128;
  double val_part = 0.05;
  double test_part = 0.05;
  std::map<std::string, std::string> batch = {{"input", "input"}, {"target", "target"}};
  std::vector<std::string> prompts = {};
  DataLoaderOptions loader = {};

  /// ConfigError where nothing is left to train on, for an empty prompt, and for a batch of anything but input and target.
  void validate() const;
};
LEVIN_CONFIG(TokensDataConfig, (files, "text files, plain or gzip, and folders of them: their bytes are the tokens"),
             (tokens, "in place of files: a .npy file of token numbers, or an HDF5 file with a data set tokens"),
             (cache, "folder of the text's tokens; empty: tokens in LEVIN_CACHE, or in .cache"),
             (context, "tokens of a window: what the model sees at once", at_least(1)),
             (val_part, "of the text, before its end, kept for validation", at_least(0), less_than(1)),
             (test_part, "of the text, at its end, kept for the test", at_least(0), less_than(1)),
             (batch, "tensors of a batch, each input or target, the tokens that follow: {input_ids: input, labels: input}"),
             (prompts, "texts that predict gives to the model, as input and length; none: the test's windows"),
             (loader, "how batches are made", flattened))
LEVIN_CHOICE(TokensDataConfig, "tokens")

/// Batches: int64 [n, context] under the names of `batch`. Prompts: "input", int64 [n, longest], filled up on the right, and "length" [n].
class TokensData : public DataModule {
 public:
  using Config = TokensDataConfig;
  explicit TokensData(const TokensDataConfig& config) : config_(config) {}

  /// Collective: all ranks make the file of a text together.
  void setup(Stage stage) override;
  DataLoaderSpec train_dataloader() override { return {train_, config_.loader}; }
  DataLoaderSpec val_dataloader() override { return {val_, config_.loader}; }
  DataLoaderSpec test_dataloader() override { return {test_, config_.loader}; }
  DataLoaderSpec predict_dataloader() override;

 protected:
  /// The text files. ConfigError where there are none.
  virtual std::vector<std::filesystem::path> text_files() const;

 private:
  std::shared_ptr<const FileArray> open() const;

  TokensDataConfig config_;
  std::shared_ptr<const Dataset> train_, val_, test_;
};

}  // namespace levin::cli
