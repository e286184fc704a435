#include "levin/checkpoint/safetensors.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <set>
#include <unordered_map>

#include "../core/file.h"
#include "../core/safetensors_header.h"
#include "../core/safetensors_index.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {

using detail::File;
using detail::SafetensorsHeader;
using detail::SafetensorsIndex;

static_assert(std::endian::native == std::endian::little, "bytes are written as they are in memory");

class SafetensorsReader::Implementation {
 public:
  Implementation(const std::filesystem::path& path, Communicator* communicator, const SafetensorsOptions& options)
      : path_(path), options_(options) {
    SafetensorsIndex::is_index(path) ? open_files(communicator) : open(path, communicator);
  }

  void read(const std::string& name, int64_t begin, int64_t end, void* memory) const {
    const auto found = index_.find(name);
    if (found == index_.end()) refuse(path_, fmt::format("has no tensor {}", quote(name)), "levin-ckpt inspect lists its tensors");
    const auto& tensor = tensors_[found->second];
    const auto& [file, offset] = places_[found->second];
    const auto& path = files_[file].path();
    if (begin < 0 || begin > end || end > tensor.numel())
      refuse(path, fmt::format("has {} elements in {}, elements [{}, {}) were requested", tensor.numel(), quote(name), begin, end),
             "read within the tensor");
    if (!SafetensorsHeader::is_loaded(tensor.dtype) && !(options_.read_fp8 && SafetensorsHeader::is_convertible_fp8(tensor.dtype)))
      refuse(path, fmt::format("has {} of dtype {}, which Levin does not load", quote(name), c10::getDtypeNames(tensor.dtype).first),
             "convert it, with its scales, to a dtype such as float32 or bfloat16");
    const auto element = c10::elementSize(tensor.dtype);
    files_[file].read_at(memory, static_cast<size_t>(end - begin) * element, offset + static_cast<uint64_t>(begin) * element);
    // A bool of any other value is undefined behaviour.
    if (tensor.dtype == c10::ScalarType::Bool)
      for (auto *byte = static_cast<uint8_t*>(memory), *last = byte + (end - begin); byte != last; byte++)
        if (*byte > 1)
          refuse(path, fmt::format("has the value {} in {}, whose dtype is bool", *byte, quote(name)),
                 "save it as uint8, or with 0 and 1 only");
  }

  const std::filesystem::path path_;
  std::vector<TensorEntry> tensors_;
  std::map<std::string, std::string> metadata_;
  std::unordered_map<std::string, size_t> index_;

 private:
  [[noreturn]] static void refuse(const std::filesystem::path& path, const std::string& why,
                                  const std::string& remedy = SafetensorsHeader::corrupt) {
    throw DataError(fmt::format("{} {}", path.string(), why), remedy, "checkpoint");
  }

  void open(const std::filesystem::path& path, Communicator* communicator) {
    std::string text;
    on_all_ranks(communicator, "checkpoint", [&] {
      files_.push_back(File::open_to_read(is_part(path) ? followed(path) : path));
      if (!communicator || communicator->rank() == 0) text = SafetensorsHeader::read_text(files_.back(), "checkpoint");
    });
    text = broadcast_text(communicator, std::move(text));
    on_all_ranks(communicator, "checkpoint", [&] {
      const uint64_t before = SafetensorsHeader::length_bytes + text.size(), size = files_.back().size();
      if (before > size) refuse(path, fmt::format("has {} bytes on this rank, fewer than its header of {}", size, text.size()));
      auto header = SafetensorsHeader::from_text(text, size - before, path, "checkpoint");
      for (auto& entry : header.tensors) {
        if (!index_.emplace(entry.name, tensors_.size()).second)
          refuse(path, fmt::format("has {}, as another file of {} has", quote(entry.name), path_.string()));
        places_.emplace_back(files_.size() - 1, before + entry.offset);
        tensors_.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape)});
      }
      metadata_.merge(header.metadata);
    });
  }

  void open_files(Communicator* communicator) {
    std::string text;
    on_all_ranks(communicator, "checkpoint", [&] {
      if (!communicator || communicator->rank() == 0) text = SafetensorsIndex::read_text(path_, "checkpoint");
    });
    const auto listed = SafetensorsIndex::from_text(broadcast_text(communicator, std::move(text)), path_, "checkpoint").file_of;
    std::set<std::string> names;
    for (const auto& [tensor, file] : listed) names.insert(file);
    for (const auto& name : names) {
      const size_t before = tensors_.size();
      open(path_.parent_path() / name, communicator);
      check_listed(name, before, listed);
    }
    for (const auto& [tensor, file] : listed)
      if (!index_.contains(tensor)) refuse(path_, fmt::format("has {} in {}, which lacks it", quote(tensor), quote(file)));
  }

  // The files of the hub's cache are links.
  bool is_part(const std::filesystem::path& path) const { return path != path_; }
  static std::filesystem::path followed(const std::filesystem::path& path) {
    std::error_code error;
    const auto real = std::filesystem::canonical(path, error);
    return error ? path : real;
  }

  void check_listed(const std::string& file, size_t first, const std::map<std::string, std::string>& listed) const {
    for (size_t i = first; i < tensors_.size(); i++) {
      const auto found = listed.find(tensors_[i].name);
      if (found == listed.end() || found->second != file)
        refuse(path_, fmt::format("does not have {} in {}, but that file has it", quote(tensors_[i].name), quote(file)),
               "copy or download the index and its files again");
    }
  }

  SafetensorsOptions options_;
  std::vector<File> files_;
  std::vector<std::pair<size_t, uint64_t>> places_;  // of the tensors: file, and offset in it
};

SafetensorsReader::SafetensorsReader(const std::filesystem::path& file, Communicator* communicator, const SafetensorsOptions& options)
    : implementation_(std::make_unique<Implementation>(file, communicator, options)) {}
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
