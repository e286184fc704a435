#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "levin/checkpoint/tensor_source.h"

namespace levin {

// Safetensors files (https://github.com/huggingface/safetensors): the length of the header, the header in JSON, the bytes of the tensors.

/// A safetensors file, checked strictly: the header has at most 100 MB; the tensors fill the rest of the file without gaps, each with the
/// size that its shape and dtype need. The format has no checksums.
class SafetensorsReader : public TensorSource {
 public:
  /// DataError, with the tensor's name, for an invalid file. Lists tensors of fp8 and complex dtypes; `read` refuses them.
  explicit SafetensorsReader(const std::filesystem::path& file) : SafetensorsReader(file, nullptr) {}
  /// Collective over `communicator` (for tensors in host memory): only rank 0 reads the header.
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
  /// The contents of "__metadata__".
  const std::map<std::string, std::string>& metadata() const noexcept;

 private:
  SafetensorsReader(const std::filesystem::path& file, Communicator* communicator);

  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Writes a file atomically; replaces an existing file. `read` copies elements [begin, end) of tensors[i] into `memory`; it is called in
/// turn for all elements of all tensors. IoError if the file system fails; UsageError for invalid or duplicate names, and for dtypes that
/// the format lacks.
void write_safetensors(const std::filesystem::path& file, const std::vector<TensorEntry>& tensors,
                       const std::map<std::string, std::string>& metadata,
                       const std::function<void(size_t i, int64_t begin, int64_t end, void* memory)>& read);

}  // namespace levin
