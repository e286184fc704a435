#include "state_reader.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "levin/metrics/metric.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"
#include "state_names.h"
#include "tensor_match.h"

namespace levin::detail {

StateReader::StateReader(Trainer& trainer, Module& module, const LoadFrom& from)
    : trainer_(trainer), module_(module), from_(from), checkpoint_(from.checkpoint) {}

std::string StateReader::path() const { return checkpoint_->path().string(); }

// False for one that is damaged, on all ranks. What was read of it is in the model then.
bool StateReader::load_tensors(bool weights_only, std::exception_ptr& damage) {
  auto offered = checkpoint_->with_prefix("");
  std::erase_if(
      offered, [&](const auto& one) { return !one.first.starts_with("model/") && (weights_only || !one.first.starts_with("optimizer/")); });
  define_buffers(trainer_.session().strategy(), offered, "model/");
  const TensorMatch match(trainer_.session().strategy().state(StateUse::load, weights_only), offered, /*convert=*/false);
  if (const auto differences = match.differences(); !differences.empty()) {
    const auto what = fmt::format("{} does not fit the model; {}", path(), differences);
    if (from_.strict) throw DataError(what, "resume with the model that wrote it, or pass --ckpt_strict false", "checkpoint");
    if (trainer_.session().rank() == 0) trainer_.session().runtime().log().warning("[checkpoint] {}", what);
  }
  try {
    checkpoint_->together([&] { match.load(*checkpoint_); });
  } catch (const DataError&) {
    damage = std::current_exception();
  } catch (const IoError&) {
    damage = std::current_exception();
  }
  return !damage;
}

void StateReader::load_model(bool weights_only) {
  for (std::exception_ptr damage; !load_tensors(weights_only, damage); damage = nullptr) try {
      std::rethrow_exception(damage);
    } catch (const Error& error) {
      checkpoint_ = from_.instead ? from_.instead(*checkpoint_, error.what()) : nullptr;
      if (!checkpoint_) throw;
      loop_ = {};
    }
  std::vector<int64_t> steps;
  if (!weights_only)
    for (const auto& name : trainer_.session().optimizers()) {
      const auto key = "optimizer." + name + ".steps";
      if (!from_.strict && !loop().contains(key)) {
        steps.clear();
        break;
      }
      steps.push_back(loop().get<int64_t>(key));
    }
  trainer_.session().strategy().loaded(steps);
}

const StateDict& StateReader::loop() {
  if (!loop_.empty()) return loop_;
  const auto found = checkpoint_->texts().find(loop_text);
  if (found == checkpoint_->texts().end())
    throw DataError(fmt::format("{} has weights alone", path()), "resume from another; this one is for evaluations", "checkpoint");
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

StateDict StateReader::read_dict(const std::string& text_name, const std::string& prefix) const {
  StateDict dict;
  const auto text = checkpoint_->texts().find(text_name);
  if (text == checkpoint_->texts().end()) return dict;
  dict.add_json(text->second, path());
  for (const auto& tensor : checkpoint_->tensors())
    if (!prefix.empty() && tensor.name.starts_with(prefix)) dict.set(tensor.name.substr(prefix.size()), read_tensor(tensor.name));
  return dict;
}

// As many ranks as before get their own again; else rank 0 gets all ranks' together.
void StateReader::load_metric(const std::string& name, Metric& metric) const {
  const int64_t rank = trainer_.session().rank(), ranks = trainer_.session().size();
  for (const auto& state : metric.states()) {
    const auto tensor_name = metrics_prefix + name + "/" + state.name;
    if (!checkpoint_->find(tensor_name)) continue;
    const Tensor all = read_tensor(tensor_name);
    if (state.reduction == StateReduction::concatenate) {
      const Tensor of_ranks = read_tensor(tensor_name + rows_of_ranks);
      const int64_t* rows = of_ranks.const_data_ptr<int64_t>();
      if (of_ranks.numel() == ranks) {
        int64_t begin = 0;
        for (int64_t before = 0; before < rank; before++) begin += rows[before];
        if (rows[rank] > 0) metric.load_state(state.name, all.narrow(0, begin, rows[rank]));
      } else if (rank == 0 && all.size(0) > 0) {
        metric.load_state(state.name, all);
      }
    } else if (all.size(0) == ranks) {
      metric.load_state(state.name, all[rank]);
    } else if (rank == 0) {
      metric.load_state(state.name, state.reduction == StateReduction::sum   ? all.sum(0)
                                    : state.reduction == StateReduction::min ? all.amin(0)
                                                                             : all.amax(0));
    }
  }
}

void StateReader::load_running(LogCollection& logs) {
  const StateDict about = read_dict(running_text, {});
  const int64_t count = about.empty() ? 0 : about.get<int64_t>("count"), rank = trainer_.session().rank();
  std::vector<LogCollection::Running> entries;
  for (int64_t number = 0; number < count; number++) {
    const auto its = RunningEntry::from(about, number);
    LogCollection::Running entry{.name = its.name, .options = its.options};
    if (!its.metric.empty()) {
      for (const auto& [name, metric] : module_.metrics())
        if (name == its.metric) entry.metric = metric.get();
      if (!entry.metric) continue;
    }
    const Tensor all = read_tensor(fmt::format("{}{:04}", running_prefix, number));
    const auto cell = [&](int64_t row, int column) { return all.const_data_ptr<double>()[4 * row + column]; };
    if (all.dim() != 2 || all.size(1) != 4 || all.scalar_type() != at::kDouble)
      throw DataError(fmt::format("{} has a {} of a wrong form", path(), its.name), "resume with the program that wrote it", "checkpoint");
    const bool as_before = all.size(0) == trainer_.session().size();
    const auto reduce_fx = its.options.reduce_fx;
    const double start = reduce_fx == ReduceFx::min   ? std::numeric_limits<double>::infinity()
                         : reduce_fx == ReduceFx::max ? -std::numeric_limits<double>::infinity()
                                                      : 0;
    entry.sum = start;
    for (int64_t row = 0; row < all.size(0); row++) {
      if (as_before ? row != rank : rank != 0) continue;
      const double sum = cell(row, 0);
      entry.sum = reduce_fx == ReduceFx::min   ? std::min(entry.sum, sum)
                  : reduce_fx == ReduceFx::max ? std::max(entry.sum, sum)
                                               : entry.sum + sum;
      entry.weight += cell(row, 1);
      entry.last = cell(row, 2), entry.last_weight = cell(row, 3);
    }
    entries.push_back(std::move(entry));
  }
  logs.restore(entries);
  for (const auto& [name, metric] : module_.metrics()) load_metric(name, *metric);
}

void StateReader::load_data() {
  auto& data = *trainer_.datamodule();
  if (const auto dict = read_dict(data_text, data_prefix); !dict.empty()) {
    const InHook here("load_state_dict", &typeid(data));
    data.load_state_dict(dict);
  }
}

void StateReader::load_callbacks() {
  for (const auto& [key, callback] : keyed_callbacks(trainer_))
    if (const auto dict = read_dict(callbacks_text + key, callbacks_prefix + key + "/"); !dict.empty()) callback->load_state_dict(dict);
  if (const auto dict = read_dict(hooks_text, hooks_prefix); !dict.empty())
    trainer_.hooks().call("on_load_checkpoint", &Hooks::on_load_checkpoint, dict);
  if (trainer_.session().rank() != 0) return;
  for (size_t i = 0; i < trainer_.loggers().size(); i++)
    if (const auto dict = read_dict(fmt::format("{}{}", loggers_text, i), {}); !dict.empty()) trainer_.loggers()[i]->load_state_dict(dict);
}

}  // namespace levin::detail
