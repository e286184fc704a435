#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/tensor.h"

namespace torch::nn {
class Module;
}

namespace levin {

/// The slot of a registered buffer in its module. Assigning to *slot replaces it, as an assignment through register_buffer's reference
/// does.
struct BufferSlot {
  std::string name;  ///< as in torch::nn::Module::named_buffers
  Tensor* slot;      ///< valid until the module registers another buffer
};

/// The slots of all buffers that the module and its submodules registered, undefined ones included, in the order of named_buffers.
std::vector<BufferSlot> buffer_slots(torch::nn::Module& module);

/// Restores a module's buffers at the end of a scope, whatever a forward wrote into them, assigned to their names, or registered: values,
/// shapes and dtypes are those at the beginning. The cost is a copy of all buffers. A scope that an exception leaves restores nothing.
class BufferGuard {
 public:
  explicit BufferGuard(torch::nn::Module& module);
  ~BufferGuard();
  BufferGuard(const BufferGuard&) = delete;
  BufferGuard& operator=(const BufferGuard&) = delete;

 private:
  struct Saved;
  void restore();

  torch::nn::Module& module_;
  std::vector<Saved> saved_;
  int exceptions_;
};

}  // namespace levin
