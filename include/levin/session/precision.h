#pragma once
#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

#include <optional>
#include <string>

#include "levin/core/config.h"

namespace levin {

/// The dtype of parameters and computation, by Lightning's names. True: parameters, floating-point buffers and batches have it, and so has
/// the optimizer's state; without a copy in fp32. Mixed: all of these are fp32, and autocast chooses for each operation of a step.
enum class Precision { float32, float64, float16, bfloat16, float16_mixed, bfloat16_mixed };
LEVIN_ENUM(Precision, (float32, "32-true"), (float64, "64-true"), (float16, "16-true"), (bfloat16, "bf16-true"),
           (float16_mixed, "16-mixed"), (bfloat16_mixed, "bf16-mixed"), (float32, "32"), (float64, "64"), (float16_mixed, "16"),
           (bfloat16_mixed, "bf16"))

/// The dtype of parameters, buffers and batches.
at::ScalarType parameter_dtype(Precision precision) noexcept;
/// The dtype of autocast; null: off.
std::optional<at::ScalarType> autocast_dtype(Precision precision) noexcept;

/// Which dtypes a CPU has matrix instructions for, as far as LibTorch reports them.
struct CpuFeatures {
  bool known = false, bf16 = false, fp16 = false;
  static CpuFeatures of_this_one();
};
/// Why such a CPU is slow in this precision; empty where it is not.
std::string slow_because(Precision precision, const CpuFeatures& features);

/// Autocast of this thread, for one type of device: on or off for as long as this lives, then again as it was. Its cache of weights is off
/// meanwhile: it would keep copies of parameters alive, also of those that a strategy has freed.
class Autocast {
 public:
  /// Without a dtype all stays as it is.
  Autocast(c10::DeviceType device, std::optional<at::ScalarType> dtype, bool on = true);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  c10::DeviceType device_;
  bool acts_, was_on_ = false, had_cache_ = false;
  at::ScalarType dtype_before_ = at::ScalarType::Float;
};

}  // namespace levin
