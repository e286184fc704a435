#include "gpt_data.h"

#include "levin/core/error.h"

namespace gpt {
namespace {

namespace fs = std::filesystem;

fs::path default_corpus() {
  fs::path words = "/usr/share/dictd/wn.dict.dz";  // WordNet as a dictionary: 31 MB of text, gzip
  if (std::error_code unseen; fs::exists(words, unseen)) return words;
  throw levin::DataError(fmt::format("{} does not exist", words.string()),
                         "install the Debian package dict-wn, or give text files with --data.files");
}

levin::cli::TokensDataConfig as_tokens(const GptDataConfig& config) {
  return {.files = config.files,
          .cache = config.cache,
          .context = config.context,
          .val_part = config.val_part,
          .test_part = config.test_part,
          .prompts = config.prompts,
          .loader = config.loader};
}

}  // namespace

void GptDataConfig::validate() const { as_tokens(*this).validate(); }

GptData::GptData(const GptDataConfig& config) : TokensData(as_tokens(config)), files_(config.files) {}

std::vector<fs::path> GptData::text_files() const { return files_.empty() ? std::vector{default_corpus()} : files_; }

}  // namespace gpt
