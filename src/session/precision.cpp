#include "levin/session/precision.h"

#include <ATen/autocast_mode.h>
#include <ATen/cpu/Utils.h>
#include <fmt/format.h>

namespace levin {

at::ScalarType parameter_dtype(Precision precision) noexcept {
  switch (precision) {
    case Precision::float64: return at::kDouble;
    case Precision::float16: return at::kHalf;
    case Precision::bfloat16: return at::kBFloat16;
    default: return at::kFloat;
  }
}

std::optional<at::ScalarType> autocast_dtype(Precision precision) noexcept {
  if (precision == Precision::float16_mixed) return at::kHalf;
  if (precision == Precision::bfloat16_mixed) return at::kBFloat16;
  return std::nullopt;
}

CpuFeatures CpuFeatures::of_this_one() {
  const auto all = at::cpu::get_cpu_capabilities();
  const auto has = [&](const char* name) {
    const auto found = all.find(name);
    return found != all.end() && found->second.isBool() && found->second.toBool();
  };
  return {
      .known = all.contains("avx512_bf16"), .bf16 = has("avx512_bf16") || has("amx_bf16"), .fp16 = has("avx512_fp16") || has("amx_fp16")};
}

std::string slow_because(Precision precision, const CpuFeatures& features) {
  const auto computed = autocast_dtype(precision).value_or(parameter_dtype(precision));
  if (!features.known) return {};
  if (computed == at::kBFloat16 && !features.bf16) return "this CPU has neither avx512_bf16 nor amx_bf16";
  if (computed == at::kHalf && !features.fp16) return "this CPU has neither avx512_fp16 nor amx_fp16";
  return {};
}

Autocast::Autocast(c10::DeviceType device, std::optional<at::ScalarType> dtype, bool on)
    : device_(device), acts_(dtype && (on || at::autocast::is_autocast_enabled(device))) {
  if (!acts_) return;
  was_on_ = at::autocast::is_autocast_enabled(device);
  had_cache_ = at::autocast::is_autocast_cache_enabled();
  dtype_before_ = at::autocast::get_autocast_dtype(device);
  at::autocast::set_autocast_enabled(device, on);
  at::autocast::set_autocast_dtype(device, *dtype);
  at::autocast::set_autocast_cache_enabled(false);
}

Autocast::~Autocast() {
  if (!acts_) return;
  at::autocast::set_autocast_enabled(device_, was_on_);
  at::autocast::set_autocast_dtype(device_, dtype_before_);
  at::autocast::set_autocast_cache_enabled(had_cache_);
}

}  // namespace levin
