#include "operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "levin/core/text.h"
#include "node_text.h"

namespace levin::exported {
namespace {

constexpr std::string_view operator_prefix = "torch.ops.", higher_order_prefix = "torch.ops.higher_order.";

// Functions of ATen's that read or write files, run autograd, print, or change what a tensor is rather than its elements. Some of them
// check nothing.
constexpr std::string_view forbidden[] = {"from_file",
                                          "set_",
                                          "set_data",
                                          "_backward",
                                          "requires_grad_",
                                          "retain_grad",
                                          "rename_",
                                          "resize_",
                                          "resize_as_",
                                          "_resize_output_",
                                          "resize_as_sparse_",
                                          "_reshape_alias",
                                          "record_stream",
                                          "_print",
                                          "_make_dual",
                                          "_fw_primal",
                                          "_cudnn_init_dropout_state",
                                          "_coalesced_",
                                          "sparse_resize_",
                                          "data",
                                          "sparse_resize_and_clear_",
                                          "_lazy_clone",
                                          "_set_data",
                                          "_sparse_coo_tensor_unsafe",
                                          "_nested_view_from_buffer",
                                          "_sparse_csr_tensor_unsafe",
                                          "_sparse_csc_tensor_unsafe",
                                          "_sparse_bsr_tensor_unsafe",
                                          "_sparse_bsc_tensor_unsafe",
                                          "_sparse_compressed_tensor_unsafe",
                                          "_foobar",
                                          "_test_warn_in_autograd"};

// Of PyTorch's own functions, whose names begin with "_", those that torch.export writes into graphs. The others are parts of functions,
// which have checked their arguments: some read and write outside of their tensors for others.
constexpr std::string_view exported_internals[] = {"_assert_async",
                                                   "_assert_scalar",
                                                   "_assert_tensor_metadata",
                                                   "_grouped_mm",
                                                   "_is_all_true",
                                                   "_is_any_true",
                                                   "_native_multi_head_attention",
                                                   "_shape_as_tensor",
                                                   "_standard_gamma",
                                                   "_transformer_encoder_layer_fwd",
                                                   "_upsample_bicubic2d_aa",
                                                   "_upsample_bilinear2d_aa",
                                                   "_upsample_nearest_exact1d",
                                                   "_upsample_nearest_exact2d",
                                                   "_upsample_nearest_exact3d",
                                                   "_weight_norm"};
// Kernels of this kind trust their callers, too, or make tensors that are not dense.
constexpr std::string_view trusting[] = {"backward", "slow_conv", "mkldnn",   "miopen",  "cudnn",
                                         "fbgemm",   "sparse",    "quantize", "qparams", "align_"};

// Functions that may return their first argument, or a view of it, though their schema does not say so.
constexpr std::string_view silent_aliases[] = {"dropout",  "feature_dropout",  "alpha_dropout", "feature_alpha_dropout",
                                               "type_as",  "atleast_1d",       "atleast_2d",    "atleast_3d",
                                               "meshgrid", "broadcast_tensors"};

bool is_plain(const c10::Type& type) {
  switch (type.kind()) {
    case c10::TypeKind::OptionalType: return is_plain(*type.castRaw<c10::OptionalType>()->getElementType());
    case c10::TypeKind::ListType: return is_plain(*type.castRaw<c10::ListType>()->getElementType());
    case c10::TypeKind::TensorType:
    case c10::TypeKind::NumberType:
    case c10::TypeKind::IntType:
    case c10::TypeKind::FloatType:
    case c10::TypeKind::BoolType:
    case c10::TypeKind::ComplexType:
    case c10::TypeKind::StringType:
    case c10::TypeKind::SymIntType:
    case c10::TypeKind::SymFloatType:
    case c10::TypeKind::SymBoolType:
    case c10::TypeKind::ScalarTypeType:
    case c10::TypeKind::LayoutType:
    case c10::TypeKind::MemoryFormatType:
    case c10::TypeKind::DeviceObjType: return true;
    default: return false;
  }
}

bool is_optional_generator(const c10::Type& type) {
  const auto* optional = type.castRaw<c10::OptionalType>();
  return optional && optional->getElementType()->kind() == c10::TypeKind::GeneratorType;
}

bool contains(c10::ArrayRef<std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool trusts_its_caller(std::string_view name) {
  const bool internal = name.starts_with('_') && !name.starts_with("__");  // __and__ is Python's
  return (internal && !contains(exported_internals, name)) ||
         std::any_of(std::begin(trusting), std::end(trusting), [&](auto kind) { return name.find(kind) != std::string_view::npos; });
}

void check_allowed(const std::string& space, const std::string& name, const c10::FunctionSchema& schema) {
  const auto refuse = [&](const std::string& why) {
    throw Refused(fmt::format("operator {}::{} may not run in an exported model: {}", sanitized(space), sanitized(name), why),
                  "write the model with functions of tensors");
  };
  if (contains(forbidden, name)) refuse("it is not a function of its tensors' elements");
  if (trusts_its_caller(name)) refuse("it is a part of PyTorch that does not check its arguments, or its tensors are not dense");
  for (const auto& argument : schema.arguments()) {
    if (argument.is_out()) refuse("it writes into an argument out=");
    if (!is_plain(*argument.type()) && !is_optional_generator(*argument.type()))
      refuse(fmt::format("its argument {} is a {}", argument.name(), argument.type()->str()));
  }
  for (const auto& result : schema.returns())
    if (!is_plain(*result.type())) refuse(fmt::format("it returns a {}", result.type()->str()));
}

bool is_true(const Argument* argument) {
  const auto* item = argument ? std::get_if<Item>(&argument->value) : nullptr;
  const auto* flag = item ? std::get_if<bool>(item) : nullptr;
  return flag && *flag;
}

}  // namespace

bool is_operator(const std::string& target) noexcept { return target.starts_with(operator_prefix) && !is_higher_order(target); }
bool is_higher_order(const std::string& target) noexcept { return target.starts_with(higher_order_prefix); }

c10::OperatorHandle find_operator(const std::string& target) {
  const std::string path = target.substr(std::min(operator_prefix.size(), target.size()));
  const auto first = path.find('.'), last = path.rfind('.');
  if (!is_operator(target) || first == std::string::npos || first == last)
    throw Refused(fmt::format("{} is not the name of an operator", quote(target)), "export the model again");
  const std::string space = path.substr(0, first), name = path.substr(first + 1, last - first - 1), overload = path.substr(last + 1);
  if (space != "aten")
    throw Refused(fmt::format("operator {}::{} is not one of PyTorch's own (aten)", sanitized(space), sanitized(name)),
                  "write it with PyTorch's functions, or export the model without it");
  const auto found = c10::Dispatcher::singleton().findSchema({space + "::" + name, overload == "default" ? "" : overload});
  if (!found)
    throw Refused(fmt::format("this LibTorch has no operator {}::{} (overload {})", space, sanitized(name), sanitized(overload)),
                  "export the model with the PyTorch version that Levin was built with");
  check_allowed(space, name, found->schema());
  return *found;
}

std::vector<const Argument*> match_arguments(const c10::FunctionSchema& schema, const Node& node) {
  const auto& parameters = schema.arguments();
  std::vector<const Argument*> given(parameters.size(), nullptr);
  for (const auto& argument : node.arguments) {
    const auto found = std::find_if(parameters.begin(), parameters.end(), [&](const auto& known) { return known.name() == argument.name; });
    if (found == parameters.end())
      throw Refused(fmt::format("this LibTorch's operator has no argument {}", quote(argument.name)),
                    "export the model with the PyTorch version that Levin was built with");
    auto& place = given[static_cast<size_t>(found - parameters.begin())];
    if (place) throw Refused(fmt::format("argument {} is given twice", quote(argument.name)), "export the model again");
    place = &argument;
  }
  for (size_t i = 0; i < parameters.size(); i++)
    if (!given[i] && !parameters[i].default_value() && !is_optional_generator(*parameters[i].type()))
      throw Refused(fmt::format("argument {} is missing", quote(parameters[i].name())),
                    "export the model with the PyTorch version that Levin was built with");
  return given;
}

Effects effects_of(const c10::FunctionSchema& schema, const std::vector<const Argument*>& given) {
  Effects effects;
  const std::string_view name = std::string_view(schema.name()).substr(std::string_view("aten::").size());
  // The normalizations write their running statistics, arguments 3 and 4, where flag 5 says so; their schema does not mention it.
  const bool statistics = (name == "batch_norm" || name == "instance_norm") && given.size() > 5 && is_true(given[5]);
  const bool silent = contains(silent_aliases, name);
  for (size_t i = 0; i < given.size(); i++) {
    const auto* alias = schema.arguments()[i].alias_info();
    if ((alias && alias->isWrite()) || (statistics && (i == 3 || i == 4))) effects.written.push_back(i);
    if (alias || (silent && i == 0)) effects.returned.push_back(i);
  }
  return effects;
}

}  // namespace levin::exported
