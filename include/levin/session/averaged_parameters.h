#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "levin/core/tensor.h"
#include "levin/parallel/named_parameter.h"
#include "levin/parallel/state_tensor.h"

namespace levin {

class Session;

/// Averages of a model's parameters and buffers over a training. Each rank averages the shards that it updates, so that the averages take
/// as much memory as this rank's part of the parameters. A Session that has them (Session::set_averages) keeps them in its checkpoints,
/// beside the trained parameters, and a training that resumes finds both again, on any number of ranks.
class AveragedParameters {
 public:
  /// Changes `average` in place by the current value; both have the same shape and dtype, and must not be kept.
  using Average = std::function<void(Tensor& average, const Tensor& current)>;

  /// `as_model`: checkpoints hold the averages as the model, and the trained parameters as current_model/NAME; otherwise the trained
  /// parameters as the model and the averages as average_model/NAME. `buffers`: floating-point buffers are averaged; otherwise they are
  /// those of the last update.
  AveragedParameters(bool as_model, bool buffers) : as_model_(as_model), average_buffers_(buffers) {}

  /// Values in the averages so far.
  int64_t updates() const noexcept { return updates_; }
  bool started() const noexcept { return updates_ > 0; }
  bool as_model() const noexcept { return as_model_; }
  void set_as_model(bool as_model) noexcept { as_model_ = as_model; }

  /// Copies parameters and buffers at the first call, later averages. Between steps, not while shown. Local.
  void update(Session& session, const Average& average);
  /// The averages become the model's parameters and buffers, until hide. Does nothing before the first update, or if shown. Collective.
  void show(Session& session);
  /// The trained parameters and buffers are back. Collective.
  void hide(Session& session);
  bool shown() const noexcept { return shown_; }
  /// While shown: the averages of the buffers are what the model has now. Local.
  void take_buffers(Session& session);
  /// The averages, of this number of updates, become the model's present parameters and buffers. `were_model`: so a checkpoint had them.
  /// Local.
  void take(Session& session, int64_t updates, bool were_model = false);
  /// Whether they come from a checkpoint that had them as its model.
  bool were_model() const noexcept { return were_model_; }

  void clear() noexcept {
    updates_ = 0, shown_ = were_model_ = false;
    shards_.clear(), hidden_shards_.clear(), buffers_.clear(), hidden_buffers_.clear();
  }

  /// For checkpoints: the same part of the state with the averages, and with what is trained. Local.
  StateTensor average_of(const StateTensor& saved) const { return shown_ ? saved : with_values(saved, shards_, buffers_); }
  StateTensor current_of(const StateTensor& saved) const { return shown_ ? with_values(saved, hidden_shards_, hidden_buffers_) : saved; }

 private:
  using Buffers = std::map<std::string, Tensor>;
  static StateTensor with_values(const StateTensor& saved, const std::vector<ParameterSlice>& shards, const Buffers& buffers);

  bool as_model_, average_buffers_, shown_ = false, were_model_ = false;
  int64_t updates_ = 0;
  std::vector<ParameterSlice> shards_, hidden_shards_;
  Buffers buffers_, hidden_buffers_;  // by the names in checkpoints, flattened
};

}  // namespace levin
