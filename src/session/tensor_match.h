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
  /// `offered`: what the file has, by the names that the run gives it. With `convert` any floating dtype fits any other.
  TensorMatch(std::vector<StateTensor> needed, const std::map<std::string, const TensorEntry*>& offered, bool convert);
  TensorMatch(const TensorMatch&) = delete;
  /// What is missing, unexpected, or of another shape or dtype, by name; empty where all fits.
  std::string differences() const;
  size_t fitting() const noexcept { return fitting_.size(); }
  /// Reads this rank's parts of what fits.
  void load(const TensorSource& source) const;

 private:
  std::vector<StateTensor> needed_;
  std::vector<std::pair<const StateTensor*, const TensorEntry*>> fitting_;
  std::vector<std::string> missing_, unexpected_, different_;
};

}  // namespace detail
}  // namespace levin
