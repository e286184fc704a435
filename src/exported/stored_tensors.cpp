#include "stored_tensors.h"

#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <tuple>

#include "../core/safetensors_header.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "tensor_meta.h"

namespace levin::exported {
namespace {

constexpr int64_t most_bytes = int64_t{1} << 60;

bool multiply_checked(int64_t& product, int64_t factor) {
  return !__builtin_mul_overflow(product, factor, &product) && product <= most_bytes;
}

/// Bytes of all elements, as if none shared memory. Sizes of 0 count as 1, so that no product overflows later.
std::optional<int64_t> bytes_of_elements(const Weight& weight) {
  auto bytes = static_cast<int64_t>(c10::elementSize(weight.dtype));
  for (const auto size : weight.sizes)
    if (!multiply_checked(bytes, std::max<int64_t>(size, 1))) return {};
  return bytes;
}

std::vector<int64_t> read_fixed(const JsonPlace& list) {
  SymbolTable none;
  std::vector<int64_t> result;
  for (const auto& item : list.items()) {
    const auto size = none.read(item);
    if (!size.fixed()) item.refuse("is a symbol; a stored tensor has fixed sizes");
    result.push_back(size.offset);
  }
  return result;
}

Weight read_meta(const JsonPlace& json, int64_t& offset) {
  SymbolTable none;
  const auto meta = read_tensor_meta(json, none);  // checks all members
  if (meta.layout != c10::Layout::Strided) json.unusable("is a sparse tensor", "store a dense tensor: module.weight.to_dense()");
  Weight weight;
  weight.dtype = meta.dtype, weight.requires_grad = meta.requires_grad;
  weight.sizes = read_fixed(json.member("sizes")), weight.strides = read_fixed(json.member("strides"));
  const auto first = none.read(json.member("storage_offset"));
  if (!first.fixed()) json.refuse("begins at a symbol");
  offset = first.offset;
  return weight;
}

/// Where the elements lie in the entry.
void place(Weight& weight, int64_t offset, const Archive& archive, const std::string& record, const JsonPlace& json) {
  const auto bytes = bytes_in_memory(weight);
  if (!bytes || !bytes_of_elements(weight)) json.refuse("has sizes that no memory holds");
  if (*bytes == 0) return;
  if (!archive.has(record)) json.refuse(fmt::format("is in {}, which is missing", quote(record)));
  int64_t begin = static_cast<int64_t>(c10::elementSize(weight.dtype));
  const auto stored = archive.size(record);
  if (!multiply_checked(begin, offset) || static_cast<uint64_t>(begin) > stored || *bytes > stored - static_cast<uint64_t>(begin))
    json.refuse(fmt::format("needs {} bytes from element {} on, but {} has {}", *bytes, offset, quote(record), stored));
  weight.record = record, weight.begin = static_cast<uint64_t>(begin);
}

}  // namespace

std::optional<uint64_t> bytes_in_memory(const Weight& weight) {
  int64_t last = 0;
  for (size_t i = 0; i < weight.sizes.size(); i++) {
    if (weight.sizes[i] == 0) return 0;
    int64_t step = weight.sizes[i] - 1;
    if (!multiply_checked(step, weight.strides[i]) || (last += step) > most_bytes) return {};
  }
  last++;
  if (!multiply_checked(last, static_cast<int64_t>(c10::elementSize(weight.dtype)))) return {};
  return static_cast<uint64_t>(last);
}

std::vector<Weight> read_stored_tensors(const Archive& archive, const std::string& config, const std::string& folder, bool stored) {
  const JsonFile file(archive.path().string(), config, archive.text(config, most_json_bytes));
  const JsonPlace root(file);
  root.only({"config"});
  std::vector<Weight> result;
  for (const auto& [name, json] : root.member("config").members()) {
    json.only({"path_name", "is_param", "use_pickle", "tensor_meta"});
    constexpr size_t longest_name = 1000;
    if (name.empty() || name.size() > longest_name || name.find_first_of("\n\r\t") != std::string_view::npos ||
        first_bad_byte(name) != std::string::npos)
      json.refuse(fmt::format("is named {}; a name is one line of 1 to {} bytes", quote(name), longest_name));
    if (json.member("use_pickle").boolean())
      json.unusable(fmt::format("is pickled: {} is an object of a Python class, and reading it could run code", quote(name)),
                    "keep plain tensors in the model");
    int64_t offset = 0;
    auto weight = read_meta(json.member("tensor_meta"), offset);
    weight.name = name;
    weight.parameter = json.member("is_param").boolean();
    const auto& path = json.member("path_name").name();
    if (stored) place(weight, offset, archive, folder + path, json);
    result.push_back(std::move(weight));
  }
  return result;
}

std::vector<Weight> read_safetensors(const Archive& archive, const std::string& record) {
  using detail::SafetensorsHeader;
  const auto refuse = [&](const std::string& why) {
    throw DataError(fmt::format("{}: {} {}", archive.path().string(), record, why), export_again, "exported");
  };
  uint64_t length = 0;
  const auto first = archive.head(record, sizeof length);
  if (first.size() == sizeof length) std::memcpy(&length, first.data(), sizeof length);
  const auto bytes = archive.size(record);
  if (first.size() < sizeof length || length > bytes - sizeof length || length > most_json_bytes)
    refuse(fmt::format("has {} bytes, its header would have {}", bytes, length));
  const auto before = SafetensorsHeader::length_bytes + length;
  const auto text = archive.head(record, before).substr(SafetensorsHeader::length_bytes);
  SafetensorsHeader header;
  try {
    header = SafetensorsHeader::from_text(text, bytes - before, archive.path() / record, "exported");
  } catch (const DataError& error) {
    const std::string_view message = error.what();
    refuse(fmt::format("is damaged: {}", message.substr(message.find(']') + 2)));
  }
  std::vector<Weight> result;
  for (const auto& tensor : header.tensors) {
    if (!SafetensorsHeader::is_loaded(tensor.dtype))
      refuse(fmt::format("has {} of dtype {}, which Levin does not load", quote(tensor.name), c10::toString(tensor.dtype)));
    Weight weight;
    weight.name = tensor.name, weight.dtype = tensor.dtype, weight.sizes = tensor.shape;
    weight.strides.resize(tensor.shape.size());
    int64_t stride = 1;
    for (size_t d = tensor.shape.size(); d-- > 0;) {
      weight.strides[d] = stride;
      if (!multiply_checked(stride, std::max<int64_t>(tensor.shape[d], 1)))
        refuse(fmt::format("has {} with sizes that no memory holds", quote(tensor.name)));
    }
    if (tensor.bytes > 0) weight.record = record, weight.begin = before + tensor.offset;
    result.push_back(std::move(weight));
  }
  return result;
}

void check_total(const std::vector<Weight>& weights, const Archive& archive) {
  constexpr uint64_t most_expanded_bytes = uint64_t{1} << 30;
  uint64_t total = 0;
  for (const auto& weight : weights) {
    if (weight.record.empty()) continue;
    total += static_cast<uint64_t>(bytes_of_elements(weight).value_or(most_bytes));
    if (total > archive.bytes() + most_expanded_bytes)
      throw ConfigError(
          fmt::format("{} has {} bytes, but with {} its tensors would have {} bytes and more: they are expanded or share memory",
                      archive.path().string(), archive.bytes(), quote(weight.name), total),
          "register what the tensors are expanded from", "exported");
  }
}

std::vector<Weight> merge_tied(std::vector<Weight> weights, const std::string& archive) {
  std::vector<Weight> merged;
  using Place = std::tuple<std::string, uint64_t, c10::ScalarType, std::vector<int64_t>, std::vector<int64_t>>;
  std::map<Place, size_t> places;
  for (auto& weight : weights) {
    if (weight.record.empty()) {  // without elements nothing is shared
      merged.push_back(std::move(weight));
      continue;
    }
    const auto [place, fresh] =
        places.emplace(Place{weight.record, weight.begin, weight.dtype, weight.sizes, weight.strides}, merged.size());
    if (fresh) {
      merged.push_back(std::move(weight));
    } else {
      auto& first = merged[place->second];
      first.aliases.push_back(weight.name);
      first.parameter = first.parameter || weight.parameter;
    }
  }
  std::vector<const Weight*> sorted;
  for (const auto& weight : merged)
    if (!weight.record.empty()) sorted.push_back(&weight);
  std::sort(sorted.begin(), sorted.end(),
            [](const Weight* a, const Weight* b) { return std::tie(a->record, a->begin) < std::tie(b->record, b->begin); });
  const Weight* widest = nullptr;  // of those before, the one that ends last
  for (const auto* weight : sorted) {
    const auto end = [](const Weight& w) { return w.begin + bytes_in_memory(w).value_or(0); };
    if (widest && widest->record == weight->record && weight->begin < end(*widest))
      throw ConfigError(fmt::format("{}: {} and {} share memory, but are two tensors", archive, quote(widest->name), quote(weight->name)),
                        "to tie weights, assign the parameter itself: self.head.weight = self.embedding.weight", "exported");
    if (!widest || widest->record != weight->record || end(*widest) < end(*weight)) widest = weight;
  }
  return merged;
}

}  // namespace levin::exported
