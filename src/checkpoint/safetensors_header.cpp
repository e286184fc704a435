#include "safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

using Json = nlohmann::ordered_json;
using c10::ScalarType;

constexpr std::string_view metadata_name = "__metadata__";
constexpr size_t most_dims = 32;  // HDF5's limit, too

constexpr std::array<std::pair<std::string_view, ScalarType>, 13> dtypes{{{"F64", ScalarType::Double},
                                                                          {"F32", ScalarType::Float},
                                                                          {"F16", ScalarType::Half},
                                                                          {"BF16", ScalarType::BFloat16},
                                                                          {"I64", ScalarType::Long},
                                                                          {"I32", ScalarType::Int},
                                                                          {"I16", ScalarType::Short},
                                                                          {"I8", ScalarType::Char},
                                                                          {"U64", ScalarType::UInt64},
                                                                          {"U32", ScalarType::UInt32},
                                                                          {"U16", ScalarType::UInt16},
                                                                          {"U8", ScalarType::Byte},
                                                                          {"BOOL", ScalarType::Bool}}};

bool is_name(const std::string& name) { return first_bad_byte(name) == std::string::npos && name.find('\n') == std::string::npos; }

/// Takes the tensors out while the JSON is read, so that no text makes it hold more than a tensor's worth of JSON at a time.
class Parser {
 public:
  Parser(uint64_t data_bytes, const std::filesystem::path& path) : data_bytes_(data_bytes), path_(path) {}

  SafetensorsHeader parse(std::string_view text) {
    if (!text.starts_with('{')) refuse("has a header that does not begin with {");
    try {
      const Json rest = Json::parse(text, [this](int depth, Json::parse_event_t event, Json& value) { return look(depth, event, value); });
    } catch (const Json::exception& error) {
      refuse(fmt::format("has a header that is not JSON: {}", printable(error.what())));
    }
    return in_order();
  }

 private:
  struct Found {
    TensorEntry entry;
    uint64_t begin, end;
  };

  [[noreturn]] void refuse(const std::string& why) const {
    throw DataError(fmt::format("{} {}", path_.string(), why), "use a file that safetensors reads", "checkpoint");
  }

  // Depth 1 is the header, 2 a tensor or the metadata, 3 a list in a tensor.
  bool look(int depth, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    if (depth > 3 || (depth == 3 && event != Event::value) || (depth == 2 && event == Event::object_start))
      refuse(fmt::format("has a header that is nested too deeply in {}", shown(name_)));
    if (depth == 1 && (event == Event::value || event == Event::array_start))
      refuse(fmt::format("has a header whose {} is no object", shown(name_)));
    if (event == Event::array_start) items_ = 0;
    if (depth == 3 && ++items_ > most_dims) refuse(fmt::format("has a {} with a list of more than {} numbers", shown(name_), most_dims));
    if (event == Event::key) {
      auto& known = depth == 1 ? names_ : members_;
      const auto key = value.get<std::string>();
      if (!known.insert(key).second) refuse(fmt::format("has {} twice", shown(key)));
      if (depth == 1) name_ = key, members_.clear();
      if (depth == 2 && name_ != metadata_name && key != "dtype" && key != "shape" && key != "data_offsets")
        refuse(fmt::format("says an unknown {} of {}", shown(key), shown(name_)));
    }
    if (event != Event::object_end || depth != 1) return true;
    name_ == metadata_name ? take_metadata(value) : take_tensor(value);
    return false;
  }

  void take_metadata(const Json& object) {
    for (const auto& [key, value] : object.items()) {
      if (!value.is_string()) refuse(fmt::format("has metadata whose {} is no text", shown(key)));
      header_.metadata[key] = value.get<std::string>();
    }
  }

  int64_t whole_number(const Json& value, const char* what) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      refuse(fmt::format("has {} with {} that is no whole number from 0 to 2^63 - 1", shown(name_), what));
    return value.get<int64_t>();
  }
  const Json& list(const Json& object, const char* name) const {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_array()) refuse(fmt::format("has {} without a list \"{}\"", shown(name_), name));
    return *found;
  }

  void take_tensor(const Json& object) {
    if (!is_name(name_) || name_.empty())
      refuse(fmt::format("has a tensor {}, which is no name: it is not one line of text", shown(name_)));
    Found found{{name_, {}, {}}, 0, 0};
    const auto dtype = object.find("dtype");
    if (dtype == object.end() || !dtype->is_string()) refuse(fmt::format("has {} without a dtype", shown(name_)));
    const auto text = dtype->get<std::string>();
    const auto* known = std::find_if(dtypes.begin(), dtypes.end(), [&](const auto& one) { return one.first == text; });
    if (known == dtypes.end()) refuse(fmt::format("has {} of dtype {}, which is not read", shown(name_), shown(text)));
    found.entry.dtype = known->second;
    int64_t bytes = static_cast<int64_t>(c10::elementSize(known->second));
    for (const auto& size : list(object, "shape")) {
      found.entry.shape.push_back(whole_number(size, "a size"));
      if (__builtin_mul_overflow(bytes, found.entry.shape.back(), &bytes))
        refuse(fmt::format("has {} with more bytes than can be counted", shown(name_)));
    }
    const auto& offsets = list(object, "data_offsets");
    if (offsets.size() != 2) refuse(fmt::format("has {} with {} offsets, not 2", shown(name_), offsets.size()));
    const int64_t begin = whole_number(offsets[0], "an offset"), end = whole_number(offsets[1], "an offset");
    if (end < begin || static_cast<uint64_t>(end) > data_bytes_)
      refuse(fmt::format("has {} at bytes [{}, {}), and {} bytes of data", shown(name_), begin, end, data_bytes_));
    if (end - begin != bytes) refuse(fmt::format("has {} in {} bytes, and its shape and dtype make {}", shown(name_), end - begin, bytes));
    found.begin = static_cast<uint64_t>(begin), found.end = static_cast<uint64_t>(end);
    found_.push_back(std::move(found));
  }

  // One behind the other, to the end: no byte is two tensors', and none is nobody's.
  SafetensorsHeader in_order() {
    std::sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) {
      return std::tie(a.begin, a.end, a.entry.name) < std::tie(b.begin, b.end, b.entry.name);
    });
    uint64_t end = 0;
    for (auto& one : found_) {
      if (one.begin < end) refuse(fmt::format("has {} at byte {}, in the tensor before it", shown(one.entry.name), one.begin));
      if (one.begin > end) refuse(fmt::format("has {} bytes before {} that are no tensor's", one.begin - end, shown(one.entry.name)));
      end = one.end;
      header_.tensors.push_back(std::move(one.entry));
      header_.offsets.push_back(one.begin);
    }
    if (end != data_bytes_) refuse(fmt::format("has {} bytes at its end that are no tensor's", data_bytes_ - end));
    return std::move(header_);
  }

  uint64_t data_bytes_;
  const std::filesystem::path& path_;
  std::string name_;
  size_t items_ = 0;
  std::set<std::string> names_, members_;
  std::vector<Found> found_;
  SafetensorsHeader header_;
};

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string_view name_of(ScalarType dtype) {
  const auto* found = std::find_if(dtypes.begin(), dtypes.end(), [&](const auto& one) { return one.second == dtype; });
  return found == dtypes.end() ? std::string_view() : found->first;
}

}  // namespace

SafetensorsHeader SafetensorsHeader::from_text(std::string_view text, uint64_t data_bytes, const std::filesystem::path& path) {
  return Parser(data_bytes, path).parse(text);
}

SafetensorsHeader SafetensorsHeader::for_tensors(std::vector<TensorEntry> tensors, std::map<std::string, std::string> metadata) {
  const auto refuse = [](const std::string& what) { throw UsageError("checkpoint", what); };
  // By falling size of the elements, as Python's safetensors does.
  std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    const auto one = c10::elementSize(a.dtype), other = c10::elementSize(b.dtype);
    return one != other ? one > other : a.name < b.name;
  });
  SafetensorsHeader header{.tensors = std::move(tensors), .offsets = {}, .metadata = std::move(metadata)};
  std::set<std::string> names;
  uint64_t offset = 0;
  for (const auto& tensor : header.tensors) {
    if (tensor.name.empty() || tensor.name == metadata_name || !is_name(tensor.name))
      refuse(fmt::format("{} is no name for a tensor of a safetensors file", shown(tensor.name)));
    if (!names.insert(tensor.name).second) refuse(fmt::format("{} comes twice", shown(tensor.name)));
    if (name_of(tensor.dtype).empty())
      refuse(fmt::format("{} is of dtype {}, which safetensors files do not hold", shown(tensor.name), c10::toString(tensor.dtype)));
    header.offsets.push_back(offset);
    offset += static_cast<uint64_t>(tensor.bytes());
  }
  return header;
}

std::string SafetensorsHeader::to_text() const {
  std::string text = "{";
  if (!metadata.empty()) text += fmt::format("\"{}\":{}", metadata_name, dump(Json(metadata)));
  for (size_t i = 0; i < tensors.size(); i++) {
    const auto& tensor = tensors[i];
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", text.size() > 1 ? "," : "",
                        dump(Json(tensor.name)), name_of(tensor.dtype), fmt::join(tensor.shape, ","), offsets[i],
                        offsets[i] + static_cast<uint64_t>(tensor.bytes()));
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace levin::detail
