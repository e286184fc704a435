#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "schema.h"

namespace levin::exported {

/// An archive of torch.export.save or of Levin's Python package: a zip file without compression, of which nothing is trusted.
/// Errors: DataError (65) for a damaged file, ConfigError (78) for a sound one that cannot be used here, IoError (74).
class Archive {
 public:
  /// Opens the file and checks its structure: headers, names, sizes, places. Reads no entry.
  explicit Archive(const std::filesystem::path& path);
  ~Archive();
  Archive(Archive&&) noexcept;
  Archive& operator=(Archive&&) noexcept;

  const std::filesystem::path& path() const noexcept;
  /// Names of entries below the archive's folder, such as "models/train.json".
  bool has(const std::string& record) const;
  std::vector<std::string> records() const;
  uint64_t size(const std::string& record) const;
  uint64_t bytes() const noexcept;  ///< of the file
  /// A whole entry; its checksum is compared. DataError if it is larger than `most_bytes`.
  std::string text(const std::string& record, uint64_t most_bytes) const;
  /// The first `bytes` of an entry, or all of a shorter one; no checksum is compared.
  std::string head(const std::string& record, uint64_t bytes) const;
  /// The bytes of a weight or constant, as a tensor on the CPU with memory that no other tensor shares; its checksum is compared.
  at::Tensor load(const Weight& weight) const;

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Reads the description and the graphs; no weight's bytes.
Model read_model(const Archive& archive);

}  // namespace levin::exported
