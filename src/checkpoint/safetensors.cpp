#include "levin/checkpoint/safetensors.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "../core/file.h"
#include "../core/safetensors_header.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {

using detail::File;
using detail::SafetensorsHeader;

static_assert(std::endian::native == std::endian::little, "bytes are written as they are in memory");

class SafetensorsReader::Implementation {
 public:
  Implementation(const std::filesystem::path& path, Communicator* communicator) : path_(path) {
    std::string text;
    on_all_ranks(communicator, "checkpoint", [&] {
      file_ = File::open_to_read(path);
      if (!communicator || communicator->rank() == 0) text = SafetensorsHeader::read_text(file_, "checkpoint");
    });
    text = broadcast_text(communicator, std::move(text));
    on_all_ranks(communicator, "checkpoint", [&] {
      const uint64_t before = SafetensorsHeader::length_bytes + text.size(), size = file_.size();
      if (before > size) refuse(fmt::format("has {} bytes on this rank, fewer than its header of {}", size, text.size()));
      auto header = SafetensorsHeader::from_text(text, size - before, path_, "checkpoint");
      for (auto& entry : header.tensors) {
        index_.emplace(entry.name, tensors_.size());
        offsets_.push_back(before + entry.offset);
        tensors_.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape)});
      }
      metadata_ = std::move(header.metadata);
    });
  }

  void read(const std::string& name, int64_t begin, int64_t end, void* memory) const {
    const auto found = index_.find(name);
    if (found == index_.end()) refuse(fmt::format("has no tensor {}", quote(name)), "levin-ckpt inspect lists its tensors");
    const auto& tensor = tensors_[found->second];
    if (begin < 0 || begin > end || end > tensor.numel())
      refuse(fmt::format("has {} elements in {}, elements [{}, {}) were requested", tensor.numel(), quote(name), begin, end),
             "read within the tensor");
    if (!SafetensorsHeader::is_loaded(tensor.dtype))
      refuse(fmt::format("has {} of dtype {}, which Levin does not load", quote(name), c10::getDtypeNames(tensor.dtype).first),
             "convert it, with its scales, to a dtype such as float32 or bfloat16");
    const auto element = c10::elementSize(tensor.dtype);
    file_.read_at(memory, static_cast<size_t>(end - begin) * element, offsets_[found->second] + static_cast<uint64_t>(begin) * element);
    // A bool of any other value is undefined behaviour.
    if (tensor.dtype == c10::ScalarType::Bool)
      for (auto *byte = static_cast<uint8_t*>(memory), *last = byte + (end - begin); byte != last; byte++)
        if (*byte > 1)
          refuse(fmt::format("has the value {} in {}, whose dtype is bool", *byte, quote(name)), "save it as uint8, or with 0 and 1 only");
  }

  const std::filesystem::path path_;
  std::vector<TensorEntry> tensors_;
  std::map<std::string, std::string> metadata_;
  std::unordered_map<std::string, size_t> index_;

 private:
  [[noreturn]] void refuse(const std::string& why, const std::string& remedy = SafetensorsHeader::corrupt) const {
    throw DataError(fmt::format("{} {}", path_.string(), why), remedy, "checkpoint");
  }

  File file_;
  std::vector<uint64_t> offsets_;  // of the tensors, in the file
};

SafetensorsReader::SafetensorsReader(const std::filesystem::path& file, Communicator* communicator)
    : implementation_(std::make_unique<Implementation>(file, communicator)) {}
SafetensorsReader::~SafetensorsReader() = default;
SafetensorsReader::SafetensorsReader(SafetensorsReader&&) noexcept = default;
SafetensorsReader& SafetensorsReader::operator=(SafetensorsReader&&) noexcept = default;

const std::filesystem::path& SafetensorsReader::path() const noexcept { return implementation_->path_; }
const std::vector<TensorEntry>& SafetensorsReader::tensors() const noexcept { return implementation_->tensors_; }
const TensorEntry* SafetensorsReader::find(const std::string& name) const noexcept {
  const auto found = implementation_->index_.find(name);
  return found == implementation_->index_.end() ? nullptr : &implementation_->tensors_[found->second];
}
void SafetensorsReader::read(const std::string& name, int64_t begin, int64_t end, void* memory) const {
  implementation_->read(name, begin, end, memory);
}
const std::map<std::string, std::string>& SafetensorsReader::metadata() const noexcept { return implementation_->metadata_; }

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorEntry>& tensors,
                       const std::map<std::string, std::string>& metadata,
                       const std::function<void(size_t i, int64_t begin, int64_t end, void* memory)>& read) {
  constexpr int64_t chunk_bytes = 16 << 20;
  std::vector<SafetensorsHeader::Entry> entries;
  std::unordered_map<std::string, size_t> numbers;
  for (const auto& tensor : tensors) {
    numbers.emplace(tensor.name, entries.size());
    entries.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  const auto header = SafetensorsHeader::for_tensors(std::move(entries), metadata, "checkpoint");
  std::vector<std::byte> memory;
  detail::replace_file(path, [&](File& file) {
    const auto text = header.to_text();
    const uint64_t length = text.size();
    if (length > SafetensorsHeader::most_bytes)
      throw UsageError("checkpoint", fmt::format("the names and shapes of {} tensors exceed the {} bytes of a safetensors header",
                                                 tensors.size(), SafetensorsHeader::most_bytes));
    file.write_at(&length, sizeof length, 0);
    file.write_at(text.data(), text.size(), sizeof length);
    uint64_t offset = sizeof length + length;
    for (const auto& tensor : header.tensors) {
      const auto element = static_cast<int64_t>(c10::elementSize(tensor.dtype)), step = chunk_bytes / element;
      for (int64_t begin = 0, numel = static_cast<int64_t>(tensor.bytes) / element; begin < numel; begin += step) {
        const int64_t end = std::min(numel, begin + step);
        memory.resize(static_cast<size_t>((end - begin) * element));
        read(numbers.at(tensor.name), begin, end, memory.data());
        file.write_at(memory.data(), memory.size(), offset);
        offset += memory.size();
      }
    }
  });
}

}  // namespace levin
