#include "value_table.h"

#include <fmt/format.h>

#include <array>

#include "levin/core/text.h"
#include "tensor_meta.h"

namespace levin::exported {
namespace {

constexpr std::array kind_names{"a tensor", "an integer", "a floating-point number", "a boolean", "unused"};
const char* name_of(ValueKind kind) { return kind_names[static_cast<size_t>(kind)]; }

}  // namespace

ValueTable::ValueTable(const JsonPlace& graph, SymbolTable& symbols) : symbols_(symbols) {
  for (const auto& [name, meta] : graph.member("tensor_values").members()) metas_.emplace(name, meta);
}

Slot ValueTable::define(const JsonPlace& name, ValueKind kind) {
  const auto& text = name.name();
  const auto slot = static_cast<Slot>(values_.size());
  if (!slots_.emplace(text, slot).second) name.refuse(fmt::format("makes {} again", quote(text)));
  Value value{text, kind, {}};
  if (kind == ValueKind::tensor)
    if (const auto meta = metas_.find(text); meta != metas_.end()) value.meta = read_tensor_meta(meta->second, symbols_);
  values_.push_back(std::move(value));
  return slot;
}

Slot ValueTable::define_unnamed() {
  values_.push_back({fmt::format("#{}", values_.size()), ValueKind::nothing, {}});
  return static_cast<Slot>(values_.size() - 1);
}

Slot ValueTable::use(const JsonPlace& name, ValueKind kind) const {
  const auto& text = name.name();
  const auto found = slots_.find(text);
  if (found == slots_.end()) name.refuse(fmt::format("uses {} before it is made", quote(text)));
  const auto made = values_[static_cast<size_t>(found->second)].kind;
  if (made != kind) name.refuse(fmt::format("uses {} as {}, it is {}", quote(text), name_of(kind), name_of(made)));
  return found->second;
}

}  // namespace levin::exported
