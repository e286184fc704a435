#include "operand.h"

#include <ATen/ScalarOps.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <type_traits>

#include "node_text.h"

namespace levin::exported {
namespace {

using Kind = Operand::Kind;
using c10::TypeKind;

int64_t to_integer(const IValue& value) { return value.isBool() ? int64_t{value.toBool()} : value.toInt(); }
double to_double(const IValue& value) { return value.isDouble() ? value.toDouble() : static_cast<double>(to_integer(value)); }

const c10::Type* unwrapped(const c10::Type* type) {
  while (const auto* optional = type ? type->castRaw<c10::OptionalType>() : nullptr) type = optional->getElementType().get();
  return type;
}
const c10::Type* element_of(const c10::Type* type) {
  const auto* list = type ? type->castRaw<c10::ListType>() : nullptr;
  return list ? list->getElementType().get() : nullptr;
}
bool is(const c10::Type* type, TypeKind kind) { return type && type->kind() == kind; }

[[noreturn]] void refuse_type(const char* what, const c10::Type* type) {
  throw Refused(fmt::format("an argument is {}, where the operator takes {}", what, type ? type->str() : "no such value"),
                "export the model again with the PyTorch version that Levin was built with");
}

// Python's numbers become tensors that take part in no promotion of dtypes.
IValue wrapped(const IValue& number) {
  return at::native::wrapped_scalar_tensor(number.isBool() ? at::Scalar(number.toBool()) : number.toScalar());
}

// Of a constant number, or of a tensor that is one.
std::optional<double> floating_number(const IValue& value) {
  if (value.isDouble()) return value.toDouble();
  if (!value.isTensor() || !value.toTensor().defined()) return std::nullopt;
  const auto& tensor = value.toTensor();
  if (!tensor.unsafeGetTensorImpl()->is_wrapped_number() || tensor.scalar_type() != at::kDouble) return std::nullopt;
  return *tensor.const_data_ptr<double>();
}

struct DtypeLimits {
  double most, least_normal;
};
template <class T>
DtypeLimits limits_of_type() {
  return {static_cast<double>(std::numeric_limits<T>::max()), static_cast<double>(std::numeric_limits<T>::min())};
}
std::optional<DtypeLimits> limits_of(c10::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble: return limits_of_type<double>();
    case at::kFloat: return limits_of_type<float>();
    case at::kBFloat16: return limits_of_type<c10::BFloat16>();
    case at::kHalf: return limits_of_type<c10::Half>();
    default: return std::nullopt;
  }
}

Operand number(const IValue& value, const c10::Type* type, int32_t length) {
  if (!type) return constant_operand(value);
  const auto count = static_cast<size_t>(std::max(length, 1));
  const bool integer = value.isInt() || value.isBool();
  switch (type->kind()) {
    case TypeKind::TensorType: return constant_operand(wrapped(value));
    case TypeKind::NumberType: return constant_operand(value);
    case TypeKind::FloatType:
      if (value.isDouble() || integer) return constant_operand(to_double(value));
      break;
    case TypeKind::ComplexType:
      if (value.isComplexDouble()) return constant_operand(value);
      if (value.isDouble() || integer) return constant_operand(c10::complex<double>(to_double(value), 0));
      break;
    case TypeKind::BoolType:
      if (value.isBool()) return constant_operand(value);
      break;
    case TypeKind::IntType:
    case TypeKind::SymIntType:
      if (integer) return constant_operand(to_integer(value));
      break;
    case TypeKind::ListType:
      if (is(element_of(type), TypeKind::FloatType) && (value.isDouble() || integer))
        return constant_operand(c10::List<double>(std::vector<double>(count, to_double(value))));
      if (integer && (is(element_of(type), TypeKind::IntType) || is(element_of(type), TypeKind::SymIntType)))
        return constant_operand(c10::List<int64_t>(std::vector<int64_t>(count, to_integer(value))));
      break;
    default: break;
  }
  refuse_type("a number", type);
}

Operand of_slot(const Graph& graph, Slot slot, const c10::Type* type) {
  const auto kind = graph.values[static_cast<size_t>(slot)].kind;
  Operand operand{.kind = Kind::value, .slot = slot};
  if (!type) return operand;
  const bool tensor = kind == ValueKind::tensor;
  switch (type->kind()) {
    case TypeKind::TensorType:
      if (!tensor) operand.kind = Kind::tensor_of_number;
      return operand;
    case TypeKind::FloatType:
      if (tensor) break;
      if (kind != ValueKind::floating) operand.kind = Kind::float_of_number;
      return operand;
    case TypeKind::ListType: {  // a size where the operator takes several
      if (tensor || kind == ValueKind::nothing) break;
      return {.kind = is(element_of(type), TypeKind::FloatType) ? Kind::floats : Kind::integers, .items = {{slot, {}}}};
    }
    case TypeKind::NumberType:
    case TypeKind::IntType:
    case TypeKind::SymIntType:
    case TypeKind::BoolType:
    case TypeKind::SymBoolType:
    case TypeKind::SymFloatType:
      if (tensor) break;
      return operand;
    default: break;
  }
  refuse_type(tensor ? "a tensor" : "a number of the graph", type);
}

Operand of_item(const Graph& graph, const Item& item, const c10::Type* type, bool optional, int32_t length) {
  return std::visit(
      [&](const auto& value) -> Operand {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::monostate>) {
          if (type && !optional) refuse_type("None", type);
          return constant_operand({});
        } else if constexpr (std::is_same_v<T, SlotRef>) {
          return of_slot(graph, value.slot, type);
        } else if constexpr (std::is_same_v<T, c10::ScalarType>) {
          if (type && !is(type, TypeKind::IntType) && !is(type, TypeKind::ScalarTypeType)) refuse_type("a dtype", type);
          Operand operand = constant_operand(static_cast<int64_t>(value));
          operand.dtype = value;
          return operand;
        } else if constexpr (std::is_same_v<T, c10::Device>) {
          if (type && !is(type, TypeKind::DeviceObjType)) refuse_type("a device", type);
          Operand operand = constant_operand(value);
          operand.device = value.type() != c10::DeviceType::Meta;
          return operand;
        } else if constexpr (std::is_same_v<T, c10::Layout> || std::is_same_v<T, c10::MemoryFormat>) {
          const auto kind = std::is_same_v<T, c10::Layout> ? TypeKind::LayoutType : TypeKind::MemoryFormatType;
          if (type && !is(type, TypeKind::IntType) && !is(type, kind)) refuse_type("a layout", type);
          return constant_operand(static_cast<int64_t>(value));
        } else if constexpr (std::is_same_v<T, std::string>) {
          if (type && !is(type, TypeKind::StringType)) refuse_type("a text", type);
          return constant_operand(value);
        } else if constexpr (std::is_same_v<T, std::complex<double>>) {
          return number(c10::complex<double>(value.real(), value.imag()), type, length);
        } else {
          return number(value, type, length);
        }
      },
      item);
}

Kind list_kind(const List& list, const c10::Type* type) {
  if (!type) return Kind::spread;
  const auto* element = element_of(type);
  if (!element) refuse_type("a list", type);
  const bool numbers = list.kind == ListKind::integers || list.kind == ListKind::floats || list.kind == ListKind::booleans;
  const bool tensors = list.kind == ListKind::tensors || list.kind == ListKind::optional_tensors || list.items.empty();
  switch (element->kind()) {
    case TypeKind::FloatType:
      if (numbers) return Kind::floats;
      break;
    case TypeKind::IntType:
    case TypeKind::SymIntType:
      if (list.kind == ListKind::integers || list.kind == ListKind::booleans || list.items.empty()) return Kind::integers;
      break;
    case TypeKind::BoolType:
      if (list.kind == ListKind::booleans || list.items.empty()) return Kind::booleans;
      break;
    case TypeKind::TensorType:
      if (tensors && list.kind != ListKind::optional_tensors) return Kind::tensors;
      break;
    case TypeKind::OptionalType:
      if (tensors && is(unwrapped(element), TypeKind::TensorType)) return Kind::optional_tensors;
      break;
    default: break;
  }
  refuse_type("a list of other values", type);
}

Operand of_list(const Graph& graph, const List& list, const c10::Type* type) {
  if (type && is(element_of(type), TypeKind::StringType) && (list.kind == ListKind::strings || list.items.empty())) {
    c10::List<std::string> texts;
    for (const auto& item : list.items) texts.push_back(std::get<std::string>(item));
    return constant_operand(texts);
  }
  Operand operand{.kind = list_kind(list, type)};
  const bool of_tensors = operand.kind == Kind::tensors || operand.kind == Kind::optional_tensors;
  bool fixed = operand.kind != Kind::spread;
  for (const auto& item : list.items) {
    Operand element = of_item(graph, item, nullptr, true, 0);
    if (element.slot != no_slot && type && (graph.values[static_cast<size_t>(element.slot)].kind == ValueKind::tensor) != of_tensors)
      refuse_type(of_tensors ? "a list with a number" : "a list with a tensor", type);
    if (element.slot == no_slot && (operand.kind == Kind::tensors || (!of_tensors && element.constant.isNone() && type)))
      refuse_type("a list with None", type);
    fixed = fixed && element.slot == no_slot;
    operand.items.push_back({element.slot, std::move(element.constant)});
  }
  if (!fixed) return operand;
  Stack stack;
  Values none;
  operand.push(stack, none);
  return constant_operand(std::move(stack[0]));
}

template <class T, class Get>
c10::List<T> list_of(const std::vector<Operand::Element>& items, const Values& values, const Get& get) {
  c10::List<T> list;
  list.reserve(items.size());
  for (const auto& item : items) list.push_back(get(item.slot == no_slot ? item.constant : values[static_cast<size_t>(item.slot)]));
  return list;
}

}  // namespace

bool is_limit(const IValue& value) {
  const auto number = floating_number(value);
  constexpr c10::ScalarType dtypes[] = {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf};
  return number && std::any_of(std::begin(dtypes), std::end(dtypes), [&](c10::ScalarType dtype) {
           const auto limits = limits_of(dtype);
           return std::abs(*number) == limits->most || *number == limits->least_normal;
         });
}

IValue limit_within(const IValue& value, c10::ScalarType dtype) {
  const auto number = floating_number(value);
  const auto limits = limits_of(dtype);
  if (!number || !limits) return value;
  double within = std::clamp(*number, -limits->most, limits->most);
  if (within > 0) within = std::max(within, limits->least_normal);
  if (within == *number) return value;
  return value.isTensor() ? wrapped(within) : IValue(within);
}

Operand constant_operand(IValue value) { return {.constant = std::move(value)}; }

Operand make_operand(const Graph& graph, const Argument& argument, const c10::Type* type, int32_t length) {
  const bool optional = type && type->kind() == TypeKind::OptionalType;
  type = unwrapped(type);
  if (const auto* list = std::get_if<List>(&argument.value)) return of_list(graph, *list, type);
  if (const auto* item = std::get_if<Item>(&argument.value)) return of_item(graph, *item, type, optional, length);
  refuse_type("a graph", type);
}

Operand make_operand(const Graph& graph, const std::variant<Item, List>& value) {
  if (const auto* list = std::get_if<List>(&value)) return of_list(graph, *list, nullptr);
  return of_item(graph, std::get<Item>(value), nullptr, true, 0);
}

void Operand::push(Stack& stack, Values& values) const {
  switch (kind) {
    case Kind::constant: stack.push_back(constant); return;
    case Kind::value: {
      IValue& value = values[static_cast<size_t>(slot)];
      if (last)
        stack.push_back(std::move(value));
      else
        stack.push_back(value);
      return;
    }
    case Kind::tensor_of_number: stack.push_back(wrapped(values[static_cast<size_t>(slot)])); return;
    case Kind::float_of_number: stack.emplace_back(to_double(values[static_cast<size_t>(slot)])); return;
    case Kind::integers: stack.emplace_back(list_of<int64_t>(items, values, to_integer)); return;
    case Kind::floats: stack.emplace_back(list_of<double>(items, values, to_double)); return;
    case Kind::booleans: stack.emplace_back(list_of<bool>(items, values, [](const IValue& value) { return value.toBool(); })); return;
    case Kind::tensors:
      stack.emplace_back(list_of<at::Tensor>(items, values, [](const IValue& value) { return value.toTensor(); }));
      return;
    case Kind::optional_tensors:
      stack.emplace_back(
          list_of<std::optional<at::Tensor>>(items, values, [](const IValue& value) { return value.toOptional<at::Tensor>(); }));
      return;
    case Kind::spread:
      for (const auto& item : items) stack.push_back(item.slot == no_slot ? item.constant : values[static_cast<size_t>(item.slot)]);
  }
}

void Operand::place(const Placement& placement) {
  if (dtype) constant = static_cast<int64_t>(placement.map(*dtype));
  if (device) constant = placement.device;
}

}  // namespace levin::exported
