#include "levin/checkpoint/safetensors.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "../core/file.h"
#include "foreign_file.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "safetensors_header.h"

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
      if (!communicator || communicator->rank() == 0) text = read_text();
    });
    text = broadcast_text(communicator, std::move(text));
    on_all_ranks(communicator, "checkpoint", [&] {
      const uint64_t before = SafetensorsHeader::length_bytes + text.size(), size = file_.size();
      if (before > size) refuse(fmt::format("has {} bytes on this rank, fewer than its header of {}", size, text.size()));
      header_ = SafetensorsHeader::from_text(text, size - before, path_);
      data_begin_ = before;
      for (size_t i = 0; i < header_.tensors.size(); i++) index_.emplace(header_.tensors[i].name, i);
    });
  }

  void read(const std::string& name, int64_t begin, int64_t end, void* memory) const {
    const auto found = index_.find(name);
    if (found == index_.end()) refuse(fmt::format("has no tensor {}", quote(name)), "levin-ckpt inspect lists its tensors");
    const auto& tensor = header_.tensors[found->second];
    if (begin < 0 || begin > end || end > tensor.numel())
      refuse(fmt::format("has {} elements in {}, elements [{}, {}) were requested", tensor.numel(), quote(name), begin, end),
             "read within the tensor");
    if (!SafetensorsHeader::is_loaded(tensor.dtype))
      refuse(fmt::format("has {} of dtype {}, which Levin does not load", quote(name), c10::getDtypeNames(tensor.dtype).first),
             "convert it, with its scales, to a dtype such as float32 or bfloat16");
    const auto element = c10::elementSize(tensor.dtype);
    file_.read_at(memory, static_cast<size_t>(end - begin) * element,
                  data_begin_ + header_.offsets[found->second] + static_cast<uint64_t>(begin) * element);
    // A bool of any other value is undefined behaviour.
    if (tensor.dtype == c10::ScalarType::Bool)
      for (auto *byte = static_cast<uint8_t*>(memory), *last = byte + (end - begin); byte != last; byte++)
        if (*byte > 1)
          refuse(fmt::format("has the value {} in {}, whose dtype is bool", *byte, quote(name)), "save it as uint8, or with 0 and 1 only");
  }

  const std::filesystem::path path_;
  SafetensorsHeader header_;
  std::unordered_map<std::string, size_t> index_;

 private:
  [[noreturn]] void refuse(const std::string& why, const std::string& remedy = SafetensorsHeader::corrupt) const {
    throw DataError(fmt::format("{} {}", path_.string(), why), remedy, "checkpoint");
  }

  std::string read_text() const {
    const uint64_t size = file_.size();
    uint64_t length = 0;
    if (size < sizeof length) refuse(fmt::format("has {} bytes, too few for a safetensors file", size));
    std::array<char, sizeof length> first{};
    file_.read_at(first.data(), first.size(), 0);
    std::memcpy(&length, first.data(), sizeof length);
    if (length > size - sizeof length || length > SafetensorsHeader::most_bytes)
      if (const auto format = detail::foreign_file({first.data(), first.size()}))
        refuse(fmt::format("is {}, not a safetensors file", format.kind), format.remedy);
    if (length > SafetensorsHeader::most_bytes)
      refuse(fmt::format("is not a safetensors file: its header would have {} bytes, more than {}", length, SafetensorsHeader::most_bytes),
             "give a safetensors file");
    if (length > size - sizeof length) refuse(fmt::format("is truncated: it has {} bytes, its header has {}", size, length));
    std::string text(length, '\0');
    file_.read_at(text.data(), text.size(), sizeof length);
    return text;
  }

  File file_;
  uint64_t data_begin_ = 0;
};

SafetensorsReader::SafetensorsReader(const std::filesystem::path& file, Communicator* communicator)
    : implementation_(std::make_unique<Implementation>(file, communicator)) {}
SafetensorsReader::~SafetensorsReader() = default;
SafetensorsReader::SafetensorsReader(SafetensorsReader&&) noexcept = default;
SafetensorsReader& SafetensorsReader::operator=(SafetensorsReader&&) noexcept = default;

const std::filesystem::path& SafetensorsReader::path() const noexcept { return implementation_->path_; }
const std::vector<TensorEntry>& SafetensorsReader::tensors() const noexcept { return implementation_->header_.tensors; }
const TensorEntry* SafetensorsReader::find(const std::string& name) const noexcept {
  const auto found = implementation_->index_.find(name);
  return found == implementation_->index_.end() ? nullptr : &implementation_->header_.tensors[found->second];
}
void SafetensorsReader::read(const std::string& name, int64_t begin, int64_t end, void* memory) const {
  implementation_->read(name, begin, end, memory);
}
const std::map<std::string, std::string>& SafetensorsReader::metadata() const noexcept { return implementation_->header_.metadata; }

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorEntry>& tensors,
                       const std::map<std::string, std::string>& metadata,
                       const std::function<void(size_t i, int64_t begin, int64_t end, void* memory)>& read) {
  constexpr int64_t chunk_bytes = 16 << 20;
  const auto header = SafetensorsHeader::for_tensors(tensors, metadata);
  std::unordered_map<std::string, size_t> numbers;
  for (size_t i = 0; i < tensors.size(); i++) numbers.emplace(tensors[i].name, i);
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
      for (int64_t begin = 0, numel = tensor.numel(); begin < numel; begin += step) {
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
