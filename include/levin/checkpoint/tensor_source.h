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

/// A file with named tensors: a checkpoint's, or safetensors. It has been verified; each rank may read any part.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual const std::filesystem::path& path() const noexcept = 0;
  /// In the order of the file.
  virtual const std::vector<TensorEntry>& tensors() const noexcept = 0;
  /// Null where no tensor has this name.
  virtual const TensorEntry* find(const std::string& name) const noexcept = 0;
  /// Elements [begin, end) of a tensor in row-major order. DataError for an unknown tensor, elements outside of it, or a dtype that cannot
  /// be loaded. Threads may read concurrently.
  virtual void read(const std::string& name, int64_t begin, int64_t end, void* memory) const = 0;
  /// The elements of a slab, which are packed into `memory` in row-major order, whatever slabs the writers had. Errors as above.
  virtual void read(const std::string& name, const Hyperslab& slab, void* memory) const;
  /// The prefix of the names of a model's weights: "model/", or empty.
  virtual std::string weights_prefix() const = 0;

  /// Tensors whose names begin with the prefix, by what follows it.
  std::map<std::string, const TensorEntry*> with_prefix(const std::string& prefix) const;

 protected:
  TensorSource() = default;
  TensorSource(const TensorSource&) = default;
  TensorSource& operator=(const TensorSource&) = default;
};

/// Opens a checkpoint, given by its folder or the state.h5 in it, or a safetensors file (or a symbolic link to it). DataError for any other
/// file, and for a corrupt one. Collective where there is a communicator (for tensors in host memory); null: alone.
std::unique_ptr<TensorSource> open_tensor_source(const std::filesystem::path& path, Communicator* communicator = nullptr);

}  // namespace levin
