#include "levin/data/token_dataset.h"

#include <vector>

#include "levin/core/error.h"

namespace levin {
namespace {

// Tokens [0, context) become a row of the input, [1, context] a row of the target.
template <class Token>
void fill_rows(const FileArray& tokens, std::span<const int64_t> first_tokens, int64_t context, int64_t* input, int64_t* target) {
  std::vector<Token> window(static_cast<size_t>(context + 1));
  for (const int64_t first_token : first_tokens) {
    tokens.read(first_token, context + 1, window.data());
    input = std::copy(window.begin(), window.end() - 1, input);
    target = std::copy(window.begin() + 1, window.end(), target);
  }
}

}  // namespace

TokenDataset::TokenDataset(std::shared_ptr<const FileArray> tokens, int64_t context, int64_t begin, int64_t end)
    : tokens_(std::move(tokens)), context_(context), begin_(begin), end_(end) {
  const auto dtype = tokens_->dtype();
  const bool integers = dtype == at::kByte || dtype == at::ScalarType::UInt16 || dtype == at::kInt || dtype == at::kLong;
  if (tokens_->shape().size() != 1 || !integers)
    throw DataError(fmt::format("{} is {} with {} dimensions", tokens_->location(), c10::toString(dtype), tokens_->shape().size()),
                    "tokens are uint8, uint16, int32 or int64 in one dimension");
  if (begin < 0 || end > tokens_->rows() || context < 1)
    throw UsageError("data", fmt::format("tokens {} to {} of {}, which has {}, in windows of {}", begin, end, tokens_->location(),
                                         tokens_->rows(), context));
  if (end - begin < context + 1)
    throw DataError(fmt::format("a window needs {} tokens, {} and the next one, but {} of {} are given", context + 1, context,
                                std::max<int64_t>(end - begin, 0), tokens_->location()),
                    "give more text, or a shorter context");
}

void TokenDataset::get(std::span<const int64_t> indices, Batch& into) const {
  std::vector<int64_t> first_tokens;
  first_tokens.reserve(indices.size());
  for (const auto index : indices) {
    if (index < 0 || index >= size())
      throw UsageError("data", fmt::format("sample {} is out of range: the data set has {}", index, size()));
    first_tokens.push_back(begin_ + index * context_);
  }
  const auto rows = static_cast<int64_t>(indices.size());
  auto* input = reuse_tensor(into, "input", {rows, context_}, at::kLong).mutable_data_ptr<int64_t>();
  auto* target = reuse_tensor(into, "target", {rows, context_}, at::kLong).mutable_data_ptr<int64_t>();
  switch (tokens_->dtype()) {
    case at::kByte: fill_rows<uint8_t>(*tokens_, first_tokens, context_, input, target); break;
    case at::ScalarType::UInt16: fill_rows<uint16_t>(*tokens_, first_tokens, context_, input, target); break;
    case at::kInt: fill_rows<int32_t>(*tokens_, first_tokens, context_, input, target); break;
    default: fill_rows<int64_t>(*tokens_, first_tokens, context_, input, target);
  }
  into.set_weight(static_cast<double>(rows * context_));
}

}  // namespace levin
