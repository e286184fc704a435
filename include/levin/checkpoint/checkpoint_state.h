#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

#include "levin/core/hyperslab.h"

namespace levin {

/// A tensor of a checkpoint.
struct TensorEntry {
  std::string name;  ///< path in the HDF5 file: "model/conv1.weight"; dots have no meaning
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::vector<int64_t> shape;  ///< of the whole tensor; empty: a scalar

  int64_t numel() const;
  int64_t bytes() const;
  std::string form() const;  ///< "8x4 float64", for messages
  friend bool operator==(const TensorEntry&, const TensorEntry&) = default;
};

/// This rank's shard of a tensor.
struct TensorPiece {
  std::string name;
  Hyperslab slab;              ///< a box that is not contiguous in the tensor has at most 8 dimensions
  const void* data = nullptr;  ///< the slab's elements, packed in row-major order
};

/// A small text without zero bytes. Store binary data as a tensor of uint8.
struct TextEntry {
  std::string name, text;
  friend bool operator==(const TextEntry&, const TextEntry&) = default;
};

/// One rank's input to a save.
struct CheckpointState {
  std::vector<TensorEntry> tensors;  ///< the same on all ranks, in the same order
  std::vector<TextEntry> texts;      ///< only rank 0's are written
  std::vector<TensorPiece> pieces;   ///< this rank's; the pieces of all ranks cover every element exactly once
};

}  // namespace levin
