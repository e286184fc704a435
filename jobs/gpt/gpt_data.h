#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "levin/cli/tokens_data.h"
#include "levin/core/config.h"

namespace gpt {

struct GptDataConfig {
  std::vector<std::filesystem::path> files = {};
  std::filesystem::path cache = {};
  int64_t context = 128;
  double val_part = 0.05;
  double test_part = 0.05;
  std::vector<std::string> prompts = {"The "};
  levin::DataLoaderOptions loader = {};

  /// ConfigError where nothing is left to train on, or a prompt is empty.
  void validate() const;
};
LEVIN_CONFIG(GptDataConfig, (files, "text files, plain or gzip, and folders of them; none: what Debian's package dict-wn has"),
             (cache, "folder of the tokenised text; empty: tokens in LEVIN_CACHE, or in .cache"),
             (context, "tokens of a window: what the model sees at once", at_least(1)),
             (val_part, "of the text, before its end, kept for validation", at_least(0), less_than(1)),
             (test_part, "of the text, at its end, kept for the test", at_least(0), less_than(1)), (prompts, "what predict continues"),
             (loader, "how batches are made", flattened))

/// The bytes of text files, made once into an HDF5 file by all ranks together, and cut into windows of `context`; and prompts: "input",
/// int64 [n, longest], filled up on the right, and "length" [n].
class GptData : public levin::cli::TokensData {
 public:
  using Config = GptDataConfig;
  explicit GptData(const GptDataConfig& config);

 protected:
  std::vector<std::filesystem::path> text_files() const override;

 private:
  std::vector<std::filesystem::path> files_;
};

}  // namespace gpt
