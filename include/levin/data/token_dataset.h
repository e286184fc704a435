#pragma once
#include <cstdint>
#include <memory>

#include "levin/data/dataset.h"
#include "levin/data/file_array.h"

namespace levin {

/// A text as samples for a language model: windows of `context` tokens, one after the other. Batches: "input" and "target", int64
/// [n, context]; a target is the token that follows its input. A batch's weight is its number of tokens.
class TokenDataset : public Dataset {
 public:
  /// Tokens [begin, end) of a one-dimensional integer array (uint8 to int64). DataError for fewer than context + 1 tokens or another
  /// shape or dtype.
  TokenDataset(std::shared_ptr<const FileArray> tokens, int64_t context, int64_t begin, int64_t end);

  /// Number of windows: (end - begin - 1) / context.
  int64_t size() const override { return (end_ - begin_ - 1) / context_; }
  void get(std::span<const int64_t> indices, Batch& into) const override;

 private:
  std::shared_ptr<const FileArray> tokens_;
  int64_t context_, begin_, end_;
};

}  // namespace levin
