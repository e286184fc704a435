#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "levin/checkpoint/checkpoint_state.h"

namespace levin {

class Communicator;

/// Named tensors in a verified checkpoint or safetensors file. Members are local: each rank may read any elements.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual const std::filesystem::path& path() const noexcept = 0;
  /// All tensors, in file order.
  virtual const std::vector<TensorEntry>& tensors() const noexcept = 0;
  /// Null if no tensor has this name.
  virtual const TensorEntry* find(const std::string& name) const noexcept = 0;
  /// Reads elements [begin, end) of a tensor, in row-major order. DataError for an unknown tensor, elements out of range, or a dtype that
  /// cannot be loaded. Threads may read concurrently.
  virtual void read(const std::string& name, int64_t begin, int64_t end, void* memory) const = 0;
  /// Reads the elements of a slab, packed into `memory` in row-major order; the writers may have used other slabs. Errors as above.
  virtual void read(const std::string& name, const Hyperslab& slab, void* memory) const;
  /// Prefix of the names of the model's weights: "model/", or empty.
  virtual std::string weights_prefix() const = 0;

  /// Tensors whose names begin with the prefix, by the rest of the name.
  std::map<std::string, const TensorEntry*> with_prefix(const std::string& prefix) const;

 protected:
  TensorSource() = default;
  TensorSource(const TensorSource&) = default;
  TensorSource& operator=(const TensorSource&) = default;
};

/// Opens a checkpoint, given by its directory or by its state.h5, a safetensors file (or a symbolic link to one), or several by their
/// model.safetensors.index.json. DataError for any other file, and for a corrupt one. Collective over `communicator` (for tensors in host
/// memory); null: local. `read_fp8`: as SafetensorsOptions.
std::unique_ptr<TensorSource> open_tensor_source(const std::filesystem::path& path, Communicator* communicator = nullptr,
                                                 bool read_fp8 = false);

}  // namespace levin
