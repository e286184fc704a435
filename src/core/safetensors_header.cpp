#include "safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "file.h"
#include "foreign_format.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view metadata_name = "__metadata__";
constexpr size_t most_dims = 32;  // as HDF5

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 19> dtype_names{{{"F64", at::ScalarType::Double},
                                                                                   {"F32", at::ScalarType::Float},
                                                                                   {"F16", at::ScalarType::Half},
                                                                                   {"BF16", at::ScalarType::BFloat16},
                                                                                   {"I64", at::ScalarType::Long},
                                                                                   {"I32", at::ScalarType::Int},
                                                                                   {"I16", at::ScalarType::Short},
                                                                                   {"I8", at::ScalarType::Char},
                                                                                   {"U64", at::ScalarType::UInt64},
                                                                                   {"U32", at::ScalarType::UInt32},
                                                                                   {"U16", at::ScalarType::UInt16},
                                                                                   {"U8", at::ScalarType::Byte},
                                                                                   {"BOOL", at::ScalarType::Bool},
                                                                                   {"F8_E4M3", at::ScalarType::Float8_e4m3fn},
                                                                                   {"F8_E5M2", at::ScalarType::Float8_e5m2},
                                                                                   {"F8_E8M0", at::ScalarType::Float8_e8m0fnu},
                                                                                   {"F8_E4M3FNUZ", at::ScalarType::Float8_e4m3fnuz},
                                                                                   {"F8_E5M2FNUZ", at::ScalarType::Float8_e5m2fnuz},
                                                                                   {"C64", at::ScalarType::ComplexFloat}}};

constexpr auto save_again = "save it again with Python's safetensors: save_file(load_file(IN), OUT)";

bool is_name(const std::string& name) { return first_bad_byte(name) == std::string::npos && name.find('\n') == std::string::npos; }

/// Converts each tensor as soon as it is parsed: a hostile header never holds more JSON in memory than one tensor.
class Parser {
 public:
  Parser(uint64_t data_bytes, const std::filesystem::path& path, const char* tag) : data_bytes_(data_bytes), path_(path), tag_(tag) {}

  SafetensorsHeader parse(std::string_view text) {
    // The JSON parser would treat a zero byte as the end of the text. Python's safetensors refuses them, too.
    if (const auto zero = text.find('\0'); zero != std::string_view::npos)
      refuse(fmt::format("has a header with a zero byte at {}", zero), "pad the header with spaces");
    if (!text.starts_with('{')) {
      const auto first = text.find_first_not_of(" \t\r\n");
      const bool readable = first != std::string_view::npos && text[first] == '{';
      refuse("has a header that does not begin with {", readable ? save_again : SafetensorsHeader::corrupt);
    }
    try {
      const Json rest =
          Json::parse(text, [this](int depth, Json::parse_event_t event, Json& value) { return check_event(depth, event, value); });
    } catch (const Json::exception& error) {
      refuse(fmt::format("has a header that is not JSON: {}", sanitized(error.what())));
    }
    return in_order();
  }

 private:
  [[noreturn]] void refuse(const std::string& why, const std::string& remedy = SafetensorsHeader::corrupt) const {
    throw DataError(fmt::format("{} {}", path_.string(), why), remedy, tag_);
  }

  // Depth 1: the header; 2: a tensor or the metadata; 3: a list in a tensor.
  bool check_event(int depth, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    if (depth > 3 || (depth == 3 && event != Event::value) || (depth == 2 && event == Event::object_start))
      refuse(fmt::format("has a header that is nested too deeply in {}", quote(name_)));
    if (depth == 1 && event == Event::value && name_ == metadata_name && value.is_null()) return false;  // as in Python's safetensors
    if (depth == 1 && (event == Event::value || event == Event::array_start))
      refuse(fmt::format("has a header in which {} is not an object", quote(name_)));
    if (event == Event::array_start) items_ = 0;
    if (depth == 3 && ++items_ > most_dims)
      refuse(fmt::format("has {} with more than {} dimensions", quote(name_), most_dims),
             fmt::format("reshape it to at most {} dimensions", most_dims));
    if (event == Event::key) {
      auto& known = depth == 1 ? names_ : members_;
      const auto key = value.get<std::string>();
      if (!known.insert(key).second) refuse(fmt::format("has {} twice", quote(key)), "write each tensor once");
      if (depth == 1) name_ = key, members_.clear();
      if (depth == 2 && name_ != metadata_name && key != "dtype" && key != "shape" && key != "data_offsets")
        refuse(fmt::format("has an unknown member {} in {}", quote(key), quote(name_)), save_again);
    }
    if (event != Event::object_end || depth != 1) return true;
    name_ == metadata_name ? take_metadata(value) : take_tensor(value);
    return false;
  }

  void take_metadata(const Json& object) {
    for (const auto& [key, value] : object.items()) {
      if (!value.is_string()) refuse(fmt::format("has metadata in which {} is not a string", quote(key)), "write metadata as strings");
      header_.metadata[key] = value.get<std::string>();
    }
  }

  int64_t integer(const Json& value, const char* role) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      refuse(fmt::format("has {} with {} that is not an integer from 0 to 2^63 - 1", quote(name_), role));
    return value.get<int64_t>();
  }
  const Json& list(const Json& object, const char* name) const {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_array()) refuse(fmt::format("has {} without a list \"{}\"", quote(name_), name));
    return *found;
  }

  void take_tensor(const Json& object) {
    if (!is_name(name_) || name_.empty())
      refuse(fmt::format("has a tensor named {}; a name is one line of text", quote(name_)), "rename the tensor");
    SafetensorsHeader::Entry entry{name_, {}, {}};
    const auto dtype = object.find("dtype");
    if (dtype == object.end() || !dtype->is_string()) refuse(fmt::format("has {} without a dtype", quote(name_)));
    const auto text = dtype->get<std::string>();
    const auto* known =
        std::find_if(dtype_names.begin(), dtype_names.end(), [&](const auto& candidate) { return candidate.first == text; });
    if (known == dtype_names.end())
      refuse(fmt::format("has {} of dtype {}, which Levin does not know", quote(name_), quote(text)),
             "convert it to another dtype, and save the file again");
    entry.dtype = known->second;
    int64_t bytes = static_cast<int64_t>(c10::elementSize(known->second));
    for (const auto& size : list(object, "shape")) {
      entry.shape.push_back(integer(size, "a size"));
      if (__builtin_mul_overflow(bytes, entry.shape.back(), &bytes)) refuse(fmt::format("has {} with a size that overflows", quote(name_)));
    }
    const auto& offsets = list(object, "data_offsets");
    if (offsets.size() != 2) refuse(fmt::format("has {} with {} offsets, not 2", quote(name_), offsets.size()));
    const int64_t begin = integer(offsets[0], "an offset"), end = integer(offsets[1], "an offset");
    if (end < begin || static_cast<uint64_t>(end) > data_bytes_)
      refuse(fmt::format("has {} at bytes [{}, {}) of {} bytes of data", quote(name_), begin, end, data_bytes_));
    if (end - begin != bytes) refuse(fmt::format("has {} in {} bytes, but its shape and dtype need {}", quote(name_), end - begin, bytes));
    entry.offset = static_cast<uint64_t>(begin), entry.bytes = static_cast<uint64_t>(bytes);
    header_.tensors.push_back(std::move(entry));
  }

  // Every byte belongs to exactly one tensor.
  SafetensorsHeader in_order() {
    using Entry = SafetensorsHeader::Entry;
    auto& tensors = header_.tensors;
    std::sort(tensors.begin(), tensors.end(),
              [](const Entry& a, const Entry& b) { return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name); });
    uint64_t end = 0;
    for (const auto& [name, dtype, shape, offset, bytes] : tensors) {
      if (offset < end) refuse(fmt::format("has {} at byte {}, inside the tensor before it", quote(name), offset));
      if (offset > end) refuse(fmt::format("has {} bytes before {} that belong to no tensor", offset - end, quote(name)));
      end = offset + bytes;
    }
    if (end != data_bytes_) refuse(fmt::format("has {} bytes at its end that belong to no tensor", data_bytes_ - end));
    return std::move(header_);
  }

  uint64_t data_bytes_;
  const std::filesystem::path& path_;
  const char* tag_;
  std::string name_;
  size_t items_ = 0;
  std::set<std::string> names_, members_;
  SafetensorsHeader header_;
};

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string_view name_of(at::ScalarType dtype) {
  const auto* found =
      std::find_if(dtype_names.begin(), dtype_names.end(), [&](const auto& candidate) { return candidate.second == dtype; });
  return found == dtype_names.end() ? std::string_view() : found->first;
}

}  // namespace

bool SafetensorsHeader::is_loaded(at::ScalarType dtype) {
  const bool fp8 = c10::isFloatingType(dtype) && c10::elementSize(dtype) == 1;
  return !fp8 && !c10::isComplexType(dtype);
}

bool SafetensorsHeader::is_convertible_fp8(at::ScalarType dtype) {
  return dtype == at::ScalarType::Float8_e4m3fn || dtype == at::ScalarType::Float8_e5m2;
}

std::string SafetensorsHeader::read_text(const File& file, const char* tag) {
  const auto refuse = [&](const std::string& why, const std::string& remedy) {
    throw DataError(fmt::format("{} {}", file.path().string(), why), remedy, tag);
  };
  const uint64_t size = file.size();
  uint64_t length = 0;
  if (size < sizeof length) refuse(fmt::format("has {} bytes, too few for a safetensors file", size), corrupt);
  std::array<char, sizeof length> first{};
  file.read_at(first.data(), first.size(), 0);
  std::memcpy(&length, first.data(), sizeof length);
  if (length > size - sizeof length || length > most_bytes)
    if (const auto format = foreign_format({first.data(), first.size()}))
      refuse(fmt::format("is {}, not a safetensors file", format.kind), format.remedy);
  if (length > most_bytes)
    refuse(fmt::format("is not a safetensors file: its header would have {} bytes, more than {}", length, most_bytes),
           "give a safetensors file");
  if (length > size - sizeof length) refuse(fmt::format("is truncated: it has {} bytes, its header has {}", size, length), corrupt);
  std::string text(length, '\0');
  file.read_at(text.data(), text.size(), sizeof length);
  return text;
}

SafetensorsHeader SafetensorsHeader::from_text(std::string_view text, uint64_t data_bytes, const std::filesystem::path& path,
                                               const char* tag) {
  return Parser(data_bytes, path, tag).parse(text);
}

SafetensorsHeader SafetensorsHeader::for_tensors(std::vector<Entry> tensors, std::map<std::string, std::string> metadata, const char* tag) {
  const auto refuse = [tag](const std::string& why) { throw UsageError(tag, why); };
  // By decreasing size of the elements, as Python's safetensors does: aligns every tensor.
  std::sort(tensors.begin(), tensors.end(), [](const Entry& a, const Entry& b) {
    const auto size_a = c10::elementSize(a.dtype), size_b = c10::elementSize(b.dtype);
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });
  std::set<std::string> names;
  uint64_t offset = 0;
  for (auto& tensor : tensors) {
    if (tensor.name.empty() || tensor.name == metadata_name || !is_name(tensor.name))
      refuse(fmt::format("{} is not a valid name for a tensor of a safetensors file", quote(tensor.name)));
    if (!names.insert(tensor.name).second) refuse(fmt::format("{} is given twice", quote(tensor.name)));
    if (name_of(tensor.dtype).empty())
      refuse(fmt::format("{} has dtype {}, which safetensors does not support", quote(tensor.name), c10::toString(tensor.dtype)));
    tensor.offset = offset;
    tensor.bytes = c10::elementSize(tensor.dtype);
    for (const auto size : tensor.shape) tensor.bytes *= static_cast<uint64_t>(size);
    offset += tensor.bytes;
  }
  return {.tensors = std::move(tensors), .metadata = std::move(metadata)};
}

std::string SafetensorsHeader::to_text() const {
  std::string text = "{";
  if (!metadata.empty()) text += fmt::format("\"{}\":{}", metadata_name, dump(Json(metadata)));
  for (const auto& tensor : tensors)
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", text.size() > 1 ? "," : "",
                        dump(Json(tensor.name)), name_of(tensor.dtype), fmt::join(tensor.shape, ","), tensor.offset,
                        tensor.offset + tensor.bytes);
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace levin::detail
