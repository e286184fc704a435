#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "levin/checkpoint/tensor_source.h"

namespace levin {

// Safetensors files (https://github.com/huggingface/safetensors): the length of the header, the header in JSON, the bytes of the tensors.

struct SafetensorsOptions {
  /// Reads the bytes of F8_E4M3 and F8_E5M2 tensors, for a caller who converts them. Their scales are other tensors.
  bool read_fp8 = false;
};

/// A safetensors file, or the files of a model.safetensors.index.json as one, checked strictly: a header has at most 100 MB; the tensors
/// fill the rest of their file without gaps, each with the size that its shape and dtype need; an index lists each tensor of its files, in
/// the file that has it. The format has no checksums.
class SafetensorsReader : public TensorSource {
 public:
  /// DataError, with the tensor's name, for an invalid file. Lists tensors of fp8 and complex dtypes; `read` refuses them.
  explicit SafetensorsReader(const std::filesystem::path& file, const SafetensorsOptions& options = {})
      : SafetensorsReader(file, nullptr, options) {}
  /// Collective over `communicator` (for tensors in host memory): only rank 0 reads the headers.
  SafetensorsReader(const std::filesystem::path& file, Communicator& communicator, const SafetensorsOptions& options = {})
      : SafetensorsReader(file, &communicator, options) {}
  ~SafetensorsReader() override;
  SafetensorsReader(SafetensorsReader&&) noexcept;
  SafetensorsReader& operator=(SafetensorsReader&&) noexcept;

  const std::filesystem::path& path() const noexcept override;
  const std::vector<TensorEntry>& tensors() const noexcept override;
  const TensorEntry* find(const std::string& name) const noexcept override;
  using TensorSource::read;
  void read(const std::string& name, int64_t begin, int64_t end, void* memory) const override;
  std::string weights_prefix() const override { return {}; }
  /// The contents of "__metadata__"; of several files, of the first that has an entry.
  const std::map<std::string, std::string>& metadata() const noexcept;

 private:
  SafetensorsReader(const std::filesystem::path& file, Communicator* communicator, const SafetensorsOptions& options);

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
