#include "state_writer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <nlohmann/json.hpp>

#include "levin/metrics/metric.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"
#include "state_names.h"

namespace levin::detail {

void StateWriter::add_piece(const std::string& name, int64_t begin, const Tensor& values) {
  if (values.numel() == 0) return;
  kept_.push_back(values.detach().cpu().contiguous());  // itself, where it is in host memory
  state_.pieces.push_back({name, begin, begin + values.numel(), kept_.back().const_data_ptr()});
}

void StateWriter::add_of_rank_0(const std::string& name, const Tensor& tensor) {
  state_.tensors.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  if (trainer_.session().rank() == 0) add_piece(name, 0, tensor);
}

void StateWriter::add_of_each_rank(const std::string& name, const Tensor& mine) {
  std::vector<int64_t> shape = mine.sizes().vec();
  shape.insert(shape.begin(), trainer_.session().size());
  state_.tensors.push_back({name, mine.scalar_type(), shape});
  add_piece(name, trainer_.session().rank() * mine.numel(), mine);
}

void StateWriter::add_rows(const std::string& name, const Tensor& mine) {
  constexpr int64_t most_dimensions = 8;
  const auto ranks = static_cast<size_t>(trainer_.session().size());
  // Ranks without rows know no shape: of each its rows, dtype and shape.
  std::vector<int64_t> form{mine.size(0), static_cast<int64_t>(mine.scalar_type()), mine.dim()};
  if (mine.dim() > most_dimensions)
    throw UsageError("trainer", fmt::format("the rows of {} have {} dimensions, more than {}", name, mine.dim(), most_dimensions));
  for (int64_t i = 0; i < most_dimensions; i++) form.push_back(i < mine.dim() ? mine.size(i) : 0);
  const auto width = form.size();
  const Tensor all = at::empty({static_cast<int64_t>(ranks * width)}, at::kLong);
  communicator_.all_gather(all, at::tensor(form, at::kLong)).wait();
  const int64_t* forms = all.const_data_ptr<int64_t>();
  int64_t rows = 0, begin = 0;
  std::vector<int64_t> of_ranks;
  const int64_t* known = forms;
  for (size_t rank = 0; rank < ranks; rank++) {
    const int64_t* its = forms + rank * width;
    if (std::cmp_equal(rank, trainer_.session().rank())) begin = rows;
    if (its[0] > 0) known = its;
    rows += its[0];
    of_ranks.push_back(its[0]);
  }
  std::vector<int64_t> shape(known + 3, known + 3 + known[2]);
  shape[0] = rows;
  state_.tensors.push_back({name, static_cast<c10::ScalarType>(known[1]), shape});
  add_piece(name, mine.size(0) > 0 ? begin * (mine.numel() / mine.size(0)) : 0, mine);
  add_of_rank_0(name + rows_of_ranks, at::tensor(of_ranks, at::kLong));
}

void StateWriter::add_dict(const std::string& text_name, const std::string& prefix, const StateDict& dict) {
  state_.texts.push_back({text_name, dict.to_json()});
  for (const auto& [name, value] : dict.values())
    if (const auto* tensor = std::get_if<Tensor>(&value)) dict_tensors_.emplace_back(prefix + name, *tensor);
}

// Names and shapes are rank 0's, too: other ranks may keep other tensors, or none.
void StateWriter::add_dict_tensors() {
  const bool first = communicator_.rank() == 0;
  const auto mine = std::exchange(dict_tensors_, {});
  nlohmann::json forms = nlohmann::json::array();
  for (const auto& [name, tensor] : mine) forms.push_back({name, static_cast<int>(tensor.scalar_type()), tensor.sizes().vec()});
  std::string text = first && !mine.empty() ? forms.dump() : std::string();
  if (communicator_.size() > 1) {
    const Tensor bytes = at::full({1}, static_cast<int64_t>(text.size()), at::kLong);
    communicator_.broadcast(bytes, 0).wait();
    text.resize(static_cast<size_t>(bytes.item<int64_t>()));
    if (!text.empty()) communicator_.broadcast(at::from_blob(text.data(), {static_cast<int64_t>(text.size())}, at::kByte), 0).wait();
  }
  if (!text.empty())
    for (const auto& form : nlohmann::json::parse(text))
      state_.tensors.push_back(
          {form[0].get<std::string>(), static_cast<c10::ScalarType>(form[1].get<int>()), form[2].get<std::vector<int64_t>>()});
  if (first)
    for (const auto& [name, tensor] : mine) add_piece(name, 0, tensor);
}

void StateWriter::add_model(bool weights_only) {
  for (const auto& tensor : trainer_.session().strategy().state(StateUse::save, weights_only)) {
    state_.tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
    for (const auto& part : tensor.parts) add_piece(tensor.name, part.begin, part.values);
  }
}

void StateWriter::add_loop(const StateDict& loop) { state_.texts.push_back({loop_text, loop.to_json()}); }

void StateWriter::add_running(const LogCollection& logs) {
  StateDict about;
  int64_t number = 0;
  for (const auto& entry : logs.running()) {
    RunningEntry its{.name = entry.name, .options = entry.options, .metric = name_of_metric(module_, entry.metric)};
    if (entry.metric && its.metric.empty()) continue;  // not a metric of the module: it is logged again
    its.add_to(about, number);
    add_of_each_rank(fmt::format("{}{:04}", running_prefix, number++),
                     at::tensor({entry.sum, entry.weight, entry.last, entry.last_weight}, at::kDouble));
  }
  about.set("count", number);
  state_.texts.push_back({running_text, about.to_json()});
  for (const auto& [metric_name, metric] : module_.metrics())
    for (const auto& one : metric->states()) {
      const auto name = metrics_prefix + metric_name + "/" + one.name;
      if (one.reduction == StateReduction::concatenate)
        add_rows(name, one.joined());
      else
        add_of_each_rank(name, one.value);
    }
}

void StateWriter::add_data() {
  const auto& data = *trainer_.datamodule();
  const InHook here("state_dict", &typeid(data));
  if (const auto dict = data.state_dict(); !dict.empty()) add_dict(data_text, data_prefix, dict);
  add_dict_tensors();
}

void StateWriter::add_callbacks() {
  for (const auto& [key, callback] : keyed_callbacks(trainer_))
    if (const auto dict = callback->state_dict(); !dict.empty()) add_dict(callbacks_text + key, callbacks_prefix + key + "/", dict);
  StateDict of_hooks;
  trainer_.hooks().call("on_save_checkpoint", &Hooks::on_save_checkpoint, of_hooks);
  if (!of_hooks.empty()) add_dict(hooks_text, hooks_prefix, of_hooks);
  add_dict_tensors();
  for (size_t i = 0; i < trainer_.loggers().size(); i++)
    if (const auto dict = trainer_.loggers()[i]->state_dict(); !dict.empty())
      state_.texts.push_back({fmt::format("{}{}", loggers_text, i), dict.to_json()});
}

}  // namespace levin::detail
