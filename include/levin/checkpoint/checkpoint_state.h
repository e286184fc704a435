#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

#include "levin/core/hyperslab.h"

namespace levin {

/// A tensor of a checkpoint.
struct TensorEntry {
  std::string name;  ///< "model/conv1.weight": groups of HDF5's, and a last part; dots mean nothing
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::vector<int64_t> shape;  ///< the whole tensor's; empty: a scalar

  int64_t numel() const;
  int64_t bytes() const;
  std::string form() const;  ///< "8x4 float64", for people
  friend bool operator==(const TensorEntry&, const TensorEntry&) = default;
};

/// A shard of a tensor that this rank has.
struct TensorPiece {
  std::string name;
  Hyperslab slab;              ///< a box that is no range of the flattened tensor has at most 8 dimensions
  const void* data = nullptr;  ///< its elements, packed in row-major order
};

/// A small text without zero bytes. What is not text is a tensor of uint8.
struct TextEntry {
  std::string name, text;
  friend bool operator==(const TextEntry&, const TextEntry&) = default;
};

/// What one rank brings to a save.
struct CheckpointState {
  std::vector<TensorEntry> tensors;  ///< the same on all ranks, in the same order
  std::vector<TextEntry> texts;      ///< rank 0's are written
  std::vector<TensorPiece> pieces;   ///< this rank's; those of all ranks cover every element exactly once
};

}  // namespace levin
