#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "levin/checkpoint/tensor_source.h"

namespace levin {

// Files of safetensors (https://github.com/huggingface/safetensors): the length of a header, a header in JSON, the tensors' bytes.

/// A safetensors file, held strictly to its format: a header of at most 100 MB, and tensors that fill the rest of the file without gaps,
/// each with as many bytes as its shape and dtype need. It has no checksums.
class SafetensorsReader : public TensorSource {
 public:
  /// DataError, with the tensor's name, for an invalid file. Tensors of fp8 and complex dtypes are listed; `read` refuses them.
  explicit SafetensorsReader(const std::filesystem::path& file) : SafetensorsReader(file, nullptr) {}
  /// The same by all ranks of `communicator` (for tensors in host memory): rank 0 alone reads the header. Collective.
  SafetensorsReader(const std::filesystem::path& file, Communicator& communicator) : SafetensorsReader(file, &communicator) {}
  ~SafetensorsReader() override;
  SafetensorsReader(SafetensorsReader&&) noexcept;
  SafetensorsReader& operator=(SafetensorsReader&&) noexcept;

  const std::filesystem::path& path() const noexcept override;
  const std::vector<TensorEntry>& tensors() const noexcept override;
  const TensorEntry* find(const std::string& name) const noexcept override;
  using TensorSource::read;
  void read(const std::string& name, int64_t begin, int64_t end, void* memory) const override;
  std::string weights_prefix() const override { return {}; }
  /// The writer's "__metadata__".
  const std::map<std::string, std::string>& metadata() const noexcept;

 private:
  SafetensorsReader(const std::filesystem::path& file, Communicator* communicator);

  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Writes a file atomically, replacing a file of this name. `read` copies elements [begin, end) of tensor number i into `memory`; it is
/// called for all of them in turn. IoError where the file system fails; UsageError for invalid or duplicate names, and for dtypes that the
/// format does not have.
void write_safetensors(const std::filesystem::path& file, const std::vector<TensorEntry>& tensors,
                       const std::map<std::string, std::string>& metadata,
                       const std::function<void(size_t i, int64_t begin, int64_t end, void* memory)>& read);

}  // namespace levin
