#include "argument_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "graph_reader.h"
#include "levin/core/text.h"
#include "tensor_meta.h"

namespace levin::exported {
namespace {

/// Kinds of the schema that no operator of a trainable model needs.
constexpr std::array<std::string_view, 5> unsupported_kinds{"as_custom_obj", "as_operator", "as_nested_tensors", "as_int_lists",
                                                            "as_string_to_argument"};

/// An argument without a value is written as {"as_none": true}.
Item read_none(const JsonPlace& json) {
  json.boolean();
  return std::monostate{};
}

}  // namespace

Item ArgumentReader::read_tensor(const JsonPlace& json) const {
  json.only({"name"});
  return SlotRef{values_.use(json.member("name"), ValueKind::tensor)};
}

Item ArgumentReader::read_optional_tensor(const JsonPlace& json) const {
  const auto [kind, value] = json.choice();
  if (kind == "as_tensor") return read_tensor(value);
  if (kind == "as_none") return read_none(value);
  json.refuse(fmt::format("is {}, neither a tensor nor none", quote(kind)));
}

Item ArgumentReader::read_symbolic(const JsonPlace& json, ValueKind kind) const {
  const auto [form, value] = json.choice();
  if (form == "as_name") return SlotRef{values_.use(value, kind)};
  if (form == "as_int" && kind == ValueKind::integer) return value.integer();
  if (form == "as_float" && kind == ValueKind::floating) return value.number();
  if (form == "as_bool" && kind == ValueKind::boolean) return value.boolean();
  json.refuse(fmt::format("is {}, neither a number of this kind nor the name of a value", quote(form)));
}

std::optional<Item> ArgumentReader::read_item(std::string_view kind, const JsonPlace& json) const {
  if (kind == "as_tensor") return read_tensor(json);
  if (kind == "as_none") return read_none(json);
  if (kind == "as_int") return json.integer();
  if (kind == "as_float") return json.number();
  if (kind == "as_bool") return json.boolean();
  if (kind == "as_string") return json.text();
  if (kind == "as_complex") {
    json.only({"real", "imag"});
    return std::complex<double>(json.member("real").number(), json.member("imag").number());
  }
  if (kind == "as_scalar_type") return read_dtype(json);
  if (kind == "as_memory_format") return read_memory_format(json);
  if (kind == "as_layout") return read_layout(json);
  if (kind == "as_device") return read_device(json);
  if (kind == "as_sym_int") return read_symbolic(json, ValueKind::integer);
  if (kind == "as_sym_float") return read_symbolic(json, ValueKind::floating);
  if (kind == "as_sym_bool") return read_symbolic(json, ValueKind::boolean);
  if (kind == "as_optional_tensor") return read_optional_tensor(json);
  return {};
}

std::optional<List> ArgumentReader::read_list(std::string_view kind, const JsonPlace& json) const {
  const auto list = [&](ListKind items_kind, auto read) {
    List result{items_kind, {}};
    for (const auto& item : json.items()) result.items.push_back(read(item));
    return result;
  };
  const auto symbolic = [&](ValueKind value_kind) {
    return [this, value_kind](const JsonPlace& item) { return read_symbolic(item, value_kind); };
  };
  if (kind == "as_ints") return list(ListKind::integers, [](const JsonPlace& item) -> Item { return item.integer(); });
  if (kind == "as_floats") return list(ListKind::floats, [](const JsonPlace& item) -> Item { return item.number(); });
  if (kind == "as_bools") return list(ListKind::booleans, [](const JsonPlace& item) -> Item { return item.boolean(); });
  if (kind == "as_strings") return list(ListKind::strings, [](const JsonPlace& item) -> Item { return item.text(); });
  if (kind == "as_sym_ints") return list(ListKind::integers, symbolic(ValueKind::integer));
  if (kind == "as_sym_floats") return list(ListKind::floats, symbolic(ValueKind::floating));
  if (kind == "as_sym_bools") return list(ListKind::booleans, symbolic(ValueKind::boolean));
  if (kind == "as_tensors") return list(ListKind::tensors, [this](const JsonPlace& item) { return read_tensor(item); });
  if (kind == "as_optional_tensors")
    return list(ListKind::optional_tensors, [this](const JsonPlace& item) { return read_optional_tensor(item); });
  return {};
}

void ArgumentReader::unsupported(const JsonPlace& json, std::string_view kind) const {
  if (std::find(unsupported_kinds.begin(), unsupported_kinds.end(), kind) == unsupported_kinds.end())
    json.refuse(fmt::format("is {}, not a kind of argument", quote(kind)));
  json.unusable(fmt::format("is {}, which Levin does not run: {}", quote(kind), node_),
                "write this part of the model with ordinary operators");
}

ArgumentReader::Content ArgumentReader::read(const JsonPlace& json) const {
  const auto [kind, value] = json.choice();
  if (kind == "as_graph") {
    value.only({"name", "graph"});
    return read_graph(value.member("graph"), value.member("name").name(), values_.symbols());
  }
  if (auto item = read_item(kind, value)) return *std::move(item);
  if (auto list = read_list(kind, value)) return *std::move(list);
  unsupported(json, kind);
}

std::variant<Item, List> ArgumentReader::read_output(const JsonPlace& json) const {
  const auto [kind, value] = json.choice();
  if (auto item = read_item(kind, value)) return *std::move(item);
  if (auto list = read_list(kind, value)) return *std::move(list);
  unsupported(json, kind);
}

}  // namespace levin::exported
