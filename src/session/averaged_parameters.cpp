#include "levin/session/averaged_parameters.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "levin/session/session.h"

namespace levin {
namespace {

// The model's own, flattened.
std::map<std::string, Tensor> model_buffers(const Strategy& strategy) {
  std::map<std::string, Tensor> buffers;
  const auto state = strategy.state(StateUse::load, /*weights_only=*/true);
  for (size_t i = strategy.parameters().size(); i < state.size(); i++)
    for (const auto& part : state[i].parts) buffers.emplace(state[i].name, part.values);
  return buffers;
}

std::map<std::string, Tensor> copies_of(const std::map<std::string, Tensor>& buffers) {
  std::map<std::string, Tensor> copies;
  for (const auto& [name, values] : buffers) copies.emplace(name, values.clone());
  return copies;
}

std::vector<ParameterSlice> copies_of(const std::vector<ParameterSlice>& slices) {
  std::vector<ParameterSlice> copies;
  for (const auto& [name, slice, offset] : slices) copies.push_back({name, slice.clone(), offset});
  return copies;
}

void write_buffers(const std::map<std::string, Tensor>& into, const std::map<std::string, Tensor>& values) {
  for (auto [name, buffer] : into)
    if (const auto found = values.find(name); found != values.end() && found->second.numel() == buffer.numel()) buffer.copy_(found->second);
}

std::vector<Tensor> tensors_of_slices(const std::vector<ParameterSlice>& slices) {
  std::vector<Tensor> tensors;
  for (const auto& slice : slices) tensors.push_back(slice.slice);
  return tensors;
}

}  // namespace

void AveragedParameters::take(Session& session, int64_t updates, bool were_model) {
  const at::NoGradGuard no_grad;
  shards_ = copies_of(session.parameter_slices());
  buffers_ = copies_of(model_buffers(session.strategy()));
  updates_ = updates;
  were_model_ = were_model;
}

void AveragedParameters::take_buffers(Session& session) { buffers_ = copies_of(model_buffers(session.strategy())); }

void AveragedParameters::update(Session& session, const Average& average) {
  if (!started()) return take(session, 1);
  const at::NoGradGuard no_grad;
  const auto slices = session.parameter_slices();
  for (size_t i = 0; i < slices.size(); i++) average(shards_[i].slice, slices[i].slice);
  for (const auto& [name, current] : model_buffers(session.strategy())) {
    auto& kept = buffers_[name];
    if (!kept.defined() || kept.numel() != current.numel())
      kept = current.clone();
    else if (average_buffers_ && current.is_floating_point())
      average(kept, current);
    else
      kept.copy_(current);
  }
  updates_++;
}

void AveragedParameters::show(Session& session) {
  if (!started() || shown_) return;
  const at::NoGradGuard no_grad;
  hidden_shards_ = copies_of(session.parameter_slices());
  const auto buffers = model_buffers(session.strategy());
  hidden_buffers_ = copies_of(buffers);
  shown_ = true;
  write_buffers(buffers, buffers_);
  session.strategy().assign_parameter_slices(tensors_of_slices(shards_));
  session.strategy().broadcast_buffers();  // ranks may have averaged others; rank 0's count
}

void AveragedParameters::hide(Session& session) {
  if (!shown_) return;
  const at::NoGradGuard no_grad;
  session.strategy().assign_parameter_slices(tensors_of_slices(hidden_shards_));
  write_buffers(model_buffers(session.strategy()), hidden_buffers_);
  shown_ = false;
  hidden_shards_.clear(), hidden_buffers_.clear();
}

// What a rank saves of a parameter lies within the shard that it updates.
StateTensor AveragedParameters::with_values(const StateTensor& saved, const std::vector<ParameterSlice>& shards, const Buffers& buffers) {
  StateTensor replaced = saved;
  const std::string name = saved.name.substr(saved.name.find('/') + 1);
  const auto buffer = buffers.find(saved.name);
  for (auto& part : replaced.parts) {
    const int64_t begin = part.slab.offset.front(), count = part.slab.extent.front();
    if (buffer != buffers.end()) {
      part.values = buffer->second.narrow(0, begin, count);
      continue;
    }
    const auto shard = std::find_if(shards.begin(), shards.end(), [&](const ParameterSlice& slice) {
      return slice.name == name && slice.offset <= begin && begin + count <= slice.offset + slice.slice.numel();
    });
    if (shard != shards.end()) part.values = shard->slice.narrow(0, begin - shard->offset, count);
  }
  return replaced;
}

}  // namespace levin
