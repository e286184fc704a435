#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "levin/parallel/strategy.h"

namespace levin {

class TensorSource;
struct TensorEntry;

namespace detail {

/// Defines the buffers that the model registered undefined and the file has, `prefix` before their names; see Strategy::define_buffers.
void define_buffers(Strategy& strategy, const std::map<std::string, const TensorEntry*>& offered, const std::string& prefix);

/// Which tensors of a file go where in a run's state.
class TensorMatch {
 public:
  /// Which dtypes of a file fit: the model's own; any floating dtype a floating one; that, and fp8.
  enum class Conversion { none, floating, floating_and_fp8 };
  /// `offered`: what the file has, by the names that the run gives it.
  TensorMatch(std::vector<StateTensor> needed, const std::map<std::string, const TensorEntry*>& offered, Conversion conversion);
  TensorMatch(const TensorMatch&) = delete;
  /// Missing and unexpected names, and other shapes or dtypes; empty if everything matches.
  std::string differences() const;
  /// Whether a difference is an fp8 dtype that floating_and_fp8 would convert.
  bool has_fp8() const noexcept { return has_fp8_; }
  size_t fitting() const noexcept { return fitting_.size(); }
  /// Reads this rank's parts of what fits.
  void load(const TensorSource& source) const;

 private:
  std::vector<StateTensor> needed_;
  std::vector<std::pair<const StateTensor*, const TensorEntry*>> fitting_;
  std::vector<std::string> missing_, unexpected_, different_;
  bool has_fp8_ = false;
};

}  // namespace detail
}  // namespace levin
