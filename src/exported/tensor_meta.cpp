#include "tensor_meta.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "levin/core/text.h"

namespace levin::exported {
namespace {

/// torch/_export/serde/schema.py, ScalarType.
constexpr std::array<std::pair<int64_t, c10::ScalarType>, 18> dtype_codes{{{1, c10::ScalarType::Byte},
                                                                           {2, c10::ScalarType::Char},
                                                                           {3, c10::ScalarType::Short},
                                                                           {4, c10::ScalarType::Int},
                                                                           {5, c10::ScalarType::Long},
                                                                           {6, c10::ScalarType::Half},
                                                                           {7, c10::ScalarType::Float},
                                                                           {8, c10::ScalarType::Double},
                                                                           {9, c10::ScalarType::ComplexHalf},
                                                                           {10, c10::ScalarType::ComplexFloat},
                                                                           {11, c10::ScalarType::ComplexDouble},
                                                                           {12, c10::ScalarType::Bool},
                                                                           {13, c10::ScalarType::BFloat16},
                                                                           {28, c10::ScalarType::UInt16},
                                                                           {29, c10::ScalarType::Float8_e4m3fn},
                                                                           {30, c10::ScalarType::Float8_e5m2},
                                                                           {31, c10::ScalarType::Float8_e4m3fnuz},
                                                                           {32, c10::ScalarType::Float8_e5m2fnuz}}};
constexpr std::array layouts{c10::Layout::Sparse,    c10::Layout::SparseCsr, c10::Layout::SparseCsc, c10::Layout::SparseBsr,
                             c10::Layout::SparseBsc, c10::Layout::Mkldnn,    c10::Layout::Strided};
constexpr std::array memory_formats{c10::MemoryFormat::Contiguous, c10::MemoryFormat::ChannelsLast, c10::MemoryFormat::ChannelsLast3d,
                                    c10::MemoryFormat::Preserve};
constexpr std::array<std::pair<std::string_view, c10::DeviceType>, 6> device_types{{{"cpu", c10::DeviceType::CPU},
                                                                                    {"cuda", c10::DeviceType::CUDA},
                                                                                    {"meta", c10::DeviceType::Meta},
                                                                                    {"mps", c10::DeviceType::MPS},
                                                                                    {"xpu", c10::DeviceType::XPU},
                                                                                    {"hpu", c10::DeviceType::HPU}}};

/// Codes from 1.
template <class Table>
auto by_code(const Table& table, const JsonPlace& json) {
  return table[static_cast<size_t>(json.integer(1, static_cast<int64_t>(table.size())) - 1)];
}

}  // namespace

c10::ScalarType read_dtype(const JsonPlace& json) {
  const auto code = json.integer();
  const auto* found = std::find_if(dtype_codes.begin(), dtype_codes.end(), [&](const auto& known) { return known.first == code; });
  if (found == dtype_codes.end()) json.refuse(fmt::format("is {}, not the code of a dtype", code));
  return found->second;
}

c10::Layout read_layout(const JsonPlace& json) { return by_code(layouts, json); }
c10::MemoryFormat read_memory_format(const JsonPlace& json) { return by_code(memory_formats, json); }

c10::Device read_device(const JsonPlace& json) {
  constexpr int64_t most_devices = 127;
  json.only({"type", "index"});
  const auto& type = json.member("type").name();
  const auto* found = std::find_if(device_types.begin(), device_types.end(), [&](const auto& known) { return known.first == type; });
  if (found == device_types.end())
    json.unusable(fmt::format("is a device of type {}, which Levin does not know", quote(type)), "export the model on the CPU");
  const auto index = json.find("index");
  return {found->second, static_cast<c10::DeviceIndex>(index && type != "cpu" ? index->integer(0, most_devices) : -1)};
}

TensorMeta read_tensor_meta(const JsonPlace& json, SymbolTable& symbols) {
  json.only({"dtype", "sizes", "requires_grad", "device", "strides", "storage_offset", "layout"});
  TensorMeta result;
  result.dtype = read_dtype(json.member("dtype"));
  result.requires_grad = json.member("requires_grad").boolean();
  read_device(json.member("device"));  // where the example was: it is validated, and not used
  result.layout = read_layout(json.member("layout"));
  const auto sizes = json.member("sizes"), strides = json.member("strides");
  if (sizes.size() > most_dims) sizes.refuse(fmt::format("has {} dimensions, more than {}", sizes.size(), most_dims));
  if (strides.size() != sizes.size()) strides.refuse(fmt::format("has {} strides for {} dimensions", strides.size(), sizes.size()));
  for (const auto& size : sizes.items()) result.sizes.push_back(symbols.read(size));
  return result;
}

}  // namespace levin::exported
