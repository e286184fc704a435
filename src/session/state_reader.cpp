#include "levin/session/state_reader.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "levin/session/averaged_parameters.h"
#include "levin/session/load_from.h"
#include "levin/session/session.h"
#include "missed_updates.h"
#include "state_names.h"
#include "tensor_match.h"

namespace levin {

using detail::TensorMatch;

StateReader::StateReader(Session& session, const LoadFrom& from) : session_(session), from_(from), checkpoint_(from.checkpoint) {}

std::string StateReader::path() const { return checkpoint_->path().string(); }

// False, on all ranks, if the checkpoint is corrupt; the model then holds a mixture of old and new values.
bool StateReader::load_tensors(bool weights_only, std::exception_ptr& corruption) {
  const auto all = checkpoint_->with_prefix("");
  const auto has = [&](const std::string& prefix) {
    const auto first = all.lower_bound(prefix);
    return first != all.end() && first->first.starts_with(prefix);
  };
  // Of a training with averages, what it trained; an evaluation takes the model.
  const std::string trained = !weights_only && has(detail::current_prefix) ? detail::current_prefix : detail::model_prefix;
  const std::string averaged = trained == detail::current_prefix ? detail::model_prefix
                               : has(detail::average_prefix)     ? detail::average_prefix
                                                                 : std::string();
  const auto model_of = [&](const std::string& prefix) {
    std::map<std::string, const TensorEntry*> offered;
    for (const auto& [name, entry] : all)
      if (name.starts_with(prefix)) offered.emplace(detail::model_prefix + name.substr(prefix.size()), entry);
    return offered;
  };
  auto available = model_of(trained);
  if (!weights_only)
    for (const auto& entry : all)
      if (entry.first.starts_with("optimizer/")) available.insert(entry);
  detail::define_buffers(session_.strategy(), available, detail::model_prefix);
  const TensorMatch match(session_.strategy().state(StateUse::load, weights_only), available, TensorMatch::Conversion::none);
  if (const auto differences = match.differences(); !differences.empty()) {
    const auto message = fmt::format("{} does not fit the model; {}", path(), differences);
    if (from_.strict) throw DataError(message, "resume with the model that wrote it, or pass --ckpt_strict false", "checkpoint");
    if (session_.rank() == 0) session_.runtime().log().warning("[checkpoint] {}", message);
  }
  if (auto* averages = session_.averages(); averages && !weights_only) averages->clear();
  try {
    if (auto* averages = session_.averages(); averages && !weights_only && !averaged.empty()) {
      const TensorMatch match_averages(session_.strategy().state(StateUse::load, /*weights_only=*/true), model_of(averaged),
                                       TensorMatch::Conversion::none);
      checkpoint_->together([&] { match_averages.load(*checkpoint_); });
      averages->take(session_, dict(detail::averages_state).get<int64_t>(detail::averages_updates), averaged == detail::model_prefix);
      session_.communicator().barrier();  // ranks of a node fill each other's shards
    }
    checkpoint_->together([&] { match.load(*checkpoint_); });
  } catch (const DataError&) {
    corruption = std::current_exception();
  }
  return !corruption;
}

void StateReader::load_model(bool weights_only) {
  for (std::exception_ptr corruption; !load_tensors(weights_only, corruption); corruption = nullptr) try {
      std::rethrow_exception(corruption);
    } catch (const Error& error) {
      checkpoint_ = from_.instead ? from_.instead(*checkpoint_, error.what()) : nullptr;
      if (!checkpoint_) throw;
      loop_ = {};
    }
  std::vector<int64_t> steps;
  if (!weights_only)
    for (const auto& name : session_.optimizers()) {
      const auto key = "optimizer." + name + ".steps";
      if (!from_.strict && !loop().contains(key)) {
        steps.clear();
        break;
      }
      steps.push_back(loop().get<int64_t>(key));
    }
  session_.strategy().loaded(steps, steps.empty() ? std::map<std::string, int64_t>() : detail::missed_updates_of(loop()));
}

const StateDict& StateReader::loop() {
  if (!loop_.empty()) return loop_;
  const auto found = checkpoint_->texts().find(detail::state_prefix + detail::loop_state);
  if (found == checkpoint_->texts().end())
    throw DataError(fmt::format("{} contains weights only", path()), "resume from another checkpoint; this one is for evaluation",
                    "checkpoint");
  loop_.add_json(found->second, path());
  return loop_;
}

Tensor StateReader::read_tensor(const std::string& name) const {
  const auto* entry = checkpoint_->find(name);
  if (!entry) throw DataError(fmt::format("{} has no {}", path(), name), "resume with the program that wrote it", "checkpoint");
  Tensor tensor = at::empty(entry->shape, at::TensorOptions(entry->dtype));
  if (tensor.numel() > 0) checkpoint_->read(name, 0, tensor.numel(), tensor.mutable_data_ptr());
  return tensor;
}

StateDict StateReader::dict(const std::string& name) const {
  StateDict dict;
  if (const auto text = checkpoint_->texts().find(detail::state_prefix + name); text != checkpoint_->texts().end())
    dict.add_json(text->second, path());
  for (const auto& tensor : checkpoint_->tensors())
    if (tensor.name.starts_with(name + "/")) dict.set(tensor.name.substr(name.size() + 1), read_tensor(tensor.name));
  return dict;
}

bool StateReader::load(Stateful& stateful) const {
  const auto state = dict(stateful.state_name());
  if (!state.empty()) stateful.load(state);
  return !state.empty();
}

}  // namespace levin
