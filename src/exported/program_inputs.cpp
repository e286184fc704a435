#include "program_inputs.h"

#include <fmt/format.h>

#include <limits>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {
namespace {

std::string describe_dimension(const ExportedDimension& dimension) {
  if (dimension.fixed()) return fmt::to_string(dimension.min);
  return dimension.max == std::numeric_limits<int64_t>::max() ? fmt::format("{}..", dimension.min)
                                                              : fmt::format("{}..{}", dimension.min, dimension.max);
}

}  // namespace

std::string ExportedTensor::describe() const {
  std::vector<std::string> sizes;
  for (const auto& dimension : shape) sizes.push_back(describe_dimension(dimension));
  return fmt::format("{} [{}] {}", name, joined(sizes), c10::getDtypeNames(dtype).first);
}

namespace exported {
namespace {

constexpr int64_t unbounded = std::numeric_limits<int64_t>::max();

int64_t scaled(int64_t bound, const Size& size) {
  int64_t product = 0, sum = 0;
  if (bound == unbounded || __builtin_mul_overflow(bound, size.factor, &product) || __builtin_add_overflow(product, size.offset, &sum))
    return unbounded;
  return sum;
}

ExportedDimension dimension_of(const Size& size, const std::vector<Symbol>& symbols) {
  if (size.fixed()) return {size.offset, size.offset, {}};
  if (!size.linear() || size.factor <= 0) return {0, unbounded, {}};
  const auto& symbol = symbols.at(static_cast<size_t>(size.symbol));
  return {scaled(symbol.min, size), scaled(symbol.max, size), size.factor == 1 && size.offset == 0 ? symbol.name : std::string()};
}

IValue literal_of(const Item& item) {
  return std::visit(
      [](const auto& value) -> IValue {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, double> || std::is_same_v<T, bool> || std::is_same_v<T, std::string>)
          return value;
        else
          return {};
      },
      item);
}

// Whether every number of one dtype is a number of the other.
bool widens(c10::ScalarType from, c10::ScalarType to) {
  const auto integer = [](c10::ScalarType type) { return c10::isIntegralType(type, /*includeBool=*/false); };
  return integer(from) && integer(to) && c10::elementSize(from) < c10::elementSize(to) &&
         (c10::isSignedType(to) || !c10::isSignedType(from));
}

[[noreturn]] void refuse_input(const ExportedTensor& input, const std::string& problem, const std::string& remedy) {
  throw DataError(fmt::format("the batch's \"{}\" {}; the model takes {}", input.name, problem, input.describe()), remedy, "exported");
}

Tensor converted(const ExportedTensor& input, const Tensor& tensor, const Placement& placement) {
  const auto dtype = placement.map(input.dtype);
  if (tensor.scalar_type() == dtype) return tensor.to(placement.device);
  if ((tensor.is_floating_point() && c10::isFloatingType(dtype)) || widens(tensor.scalar_type(), dtype))
    return tensor.to(placement.device, dtype);
  refuse_input(input, fmt::format("is {}", c10::getDtypeNames(tensor.scalar_type()).first), "convert it in the data module");
}

}  // namespace

ExportedTensor describe_tensor(const std::string& name, const std::optional<TensorMeta>& meta, const std::vector<Symbol>& symbols) {
  ExportedTensor tensor{.name = name, .dtype = meta ? meta->dtype : c10::ScalarType::Undefined, .shape = {}};
  if (meta)
    for (const auto& size : meta->sizes) tensor.shape.push_back(dimension_of(size, symbols));
  return tensor;
}

ProgramInputs::ProgramInputs(const Program& program, const std::set<Slot>& changed) : symbols_(program.symbols) {
  for (const auto& input : program.inputs) {
    if (input.kind != InputKind::user && input.kind != InputKind::literal) continue;
    const auto& value = program.graph.values[static_cast<size_t>(input.slot)];
    if (input.kind == InputKind::literal || value.kind != ValueKind::tensor || !value.meta) {
      sources_.push_back({.literal = literal_of(input.literal)});
      continue;
    }
    sources_.push_back({.input = static_cast<int>(inputs_.size()), .copied = changed.contains(input.slot)});
    inputs_.push_back(describe_tensor(input.name, value.meta, program.symbols));
    sizes_.push_back(value.meta->sizes);
  }
}

Stack ProgramInputs::take(const Batch& batch, const Placement& placement) const {
  Stack stack;
  std::vector<int64_t> symbols(symbols_.size(), -1);
  for (const auto& source : sources_) {
    if (source.input < 0) {
      stack.push_back(source.literal);
      continue;
    }
    const auto& input = inputs_[static_cast<size_t>(source.input)];
    if (!batch.contains(input.name)) {
      std::vector<std::string> names;
      for (const auto& [name, tensor] : batch.tensors()) names.push_back(name);
      throw DataError(fmt::format("the batch has no \"{}\", only {}; the model takes {}", input.name, joined(names), input.describe()),
                      "give the data set's arrays the names of the model's inputs", "exported");
    }
    const Tensor& tensor = batch[input.name];
    check_sizes(input, sizes_[static_cast<size_t>(source.input)], tensor, symbols);
    Tensor value = converted(input, tensor, placement);
    stack.emplace_back(source.copied && value.is_same(tensor) ? value.clone() : value);
  }
  return stack;
}

void ProgramInputs::check_sizes(const ExportedTensor& input, const std::vector<Size>& sizes, const Tensor& tensor,
                                std::vector<int64_t>& symbols) const {
  const auto refuse = [&](const std::string& problem) {
    refuse_input(input, fmt::format("is [{}], {}", fmt::join(tensor.sizes().begin(), tensor.sizes().end(), ", "), problem),
                 "choose other sizes, or export the model with that dimension dynamic");
  };
  if (tensor.dim() != static_cast<int64_t>(sizes.size())) refuse(fmt::format("of {} dimensions", tensor.dim()));
  for (size_t d = 0; d < sizes.size(); d++) {
    const int64_t size = tensor.sizes()[d];
    const auto& dimension = input.shape[d];
    if (size < dimension.min || size > dimension.max) refuse(fmt::format("whose dimension {} is not {}", d, describe_dimension(dimension)));
    if (sizes[d].fixed() || !sizes[d].linear() || sizes[d].factor <= 0) continue;  // of the latter operators say what does not fit
    if ((size - sizes[d].offset) % sizes[d].factor != 0)
      refuse(fmt::format("whose dimension {} is not {} more than a multiple of {}", d, sizes[d].offset, sizes[d].factor));
    const auto index = static_cast<size_t>(sizes[d].symbol);
    const int64_t symbol = (size - sizes[d].offset) / sizes[d].factor;
    if (symbols[index] >= 0 && symbols[index] != symbol)
      refuse(fmt::format("whose dimension {} must agree with that of other inputs, {}", d,
                         symbols[index] * sizes[d].factor + sizes[d].offset));
    symbols[index] = symbol;
  }
}

}  // namespace exported
}  // namespace levin
