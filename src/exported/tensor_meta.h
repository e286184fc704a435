#pragma once
#include "json_tree.h"
#include "schema.h"
#include "symbol_table.h"

namespace levin::exported {

/// Enumerations of the schema. DataError for an unknown code.
c10::ScalarType read_dtype(const JsonPlace& json);
c10::Layout read_layout(const JsonPlace& json);
c10::MemoryFormat read_memory_format(const JsonPlace& json);
/// ConfigError for an unknown kind of device.
c10::Device read_device(const JsonPlace& json);
TensorMeta read_tensor_meta(const JsonPlace& json, SymbolTable& symbols);

constexpr size_t most_dims = 64;  ///< the limit of LibTorch's loops over elements

}  // namespace levin::exported
