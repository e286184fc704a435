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

/// A file with named tensors: a checkpoint's, or safetensors. It was found good before; each rank reads what it likes.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual const std::filesystem::path& path() const noexcept = 0;
  /// In the order of the file.
  virtual const std::vector<TensorEntry>& tensors() const noexcept = 0;
  /// Null when there is none of this name.
  virtual const TensorEntry* find(const std::string& name) const noexcept = 0;
  /// Elements [begin, end) of a tensor in row-major order. DataError when there is no such tensor or there are no such elements. Threads
  /// may read at the same time.
  virtual void read(const std::string& name, int64_t begin, int64_t end, void* memory) const = 0;
  /// What stands before the names of a model's weights: "model/", or nothing.
  virtual std::string weights_prefix() const = 0;

  /// Tensors whose names begin with the prefix, by what follows it.
  std::map<std::string, const TensorEntry*> with_prefix(const std::string& prefix) const;

 protected:
  TensorSource() = default;
  TensorSource(const TensorSource&) = default;
  TensorSource& operator=(const TensorSource&) = default;
};

/// A checkpoint, given by its folder or the state.h5 in it, or a safetensors file. DataError for what is none, or not whole. Collective
/// where there is a communicator (for tensors in host memory); null: alone.
std::unique_ptr<TensorSource> open_tensor_source(const std::filesystem::path& path, Communicator* communicator = nullptr);

}  // namespace levin
