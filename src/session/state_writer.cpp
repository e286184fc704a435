#include "state_writer.h"

#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/session/averaged_parameters.h"
#include "levin/session/session.h"
#include "state_names.h"

namespace levin::detail {

void StateWriter::add_piece(const std::string& name, const Hyperslab& slab, const Tensor& values) {
  if (values.numel() == 0) return;
  kept_.push_back(staging_.read(values));  // an alias if the tensor is already in host memory
  if (copies_) kept_.back() = kept_.back().clone();
  state_.pieces.push_back({name, slab, kept_.back().const_data_ptr()});
}

void StateWriter::add_from_rank_0(const std::string& name, const Tensor& tensor) {
  state_.tensors.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  if (session_.rank() == 0) add_range(name, 0, tensor);
}

// Rank 0 decides names, dtypes and shapes: other ranks may have other tensors, or none.
void StateWriter::add_tensors_from_rank_0(const std::vector<std::pair<std::string, Tensor>>& tensors) {
  auto forms = nlohmann::json::array();
  for (const auto& [name, tensor] : tensors) forms.push_back({name, static_cast<int>(tensor.scalar_type()), tensor.sizes().vec()});
  for (const auto& form : nlohmann::json::parse(broadcast_text(communicator_, forms.dump())))
    state_.tensors.push_back(
        {form[0].get<std::string>(), static_cast<c10::ScalarType>(form[1].get<int>()), form[2].get<std::vector<int64_t>>()});
  if (session_.rank() != 0) return;
  for (const auto& [name, tensor] : tensors) add_range(name, 0, tensor);
}

void StateWriter::add_each_rank(const std::string& name, const Tensor& values) {
  std::vector<int64_t> shape = values.sizes().vec();
  shape.insert(shape.begin(), session_.size());
  state_.tensors.push_back({name, values.scalar_type(), shape});
  add_range(name, session_.rank() * values.numel(), values);
}

void StateWriter::add_rows(const std::string& name, const Tensor& values) {
  constexpr int64_t most_dimensions = 8;
  const auto ranks = static_cast<size_t>(session_.size());
  // A rank without rows does not know the shape: gather rows, dtype and shape of every rank.
  std::vector<int64_t> form{values.size(0), static_cast<int64_t>(values.scalar_type()), values.dim()};
  if (values.dim() > most_dimensions)
    throw UsageError("session", fmt::format("the rows of {} have {} dimensions, more than {}", name, values.dim(), most_dimensions));
  for (int64_t i = 0; i < most_dimensions; i++) form.push_back(i < values.dim() ? values.size(i) : 0);
  const auto form_size = form.size();
  const auto all = all_gather_values(communicator_, form);
  const int64_t* forms = all.data();
  int64_t rows = 0, begin = 0;
  std::vector<int64_t> rows_by_rank;
  const int64_t* known = forms;
  for (size_t rank = 0; rank < ranks; rank++) {
    const int64_t* row = forms + rank * form_size;
    if (std::cmp_equal(rank, session_.rank())) begin = rows;
    if (row[0] > 0) known = row;
    rows += row[0];
    rows_by_rank.push_back(row[0]);
  }
  std::vector<int64_t> shape(known + 3, known + 3 + known[2]);
  shape[0] = rows;
  state_.tensors.push_back({name, static_cast<c10::ScalarType>(known[1]), shape});
  add_range(name, values.size(0) > 0 ? begin * (values.numel() / values.size(0)) : 0, values);
  add_from_rank_0(name + rows_of_ranks, at::tensor(rows_by_rank, at::kLong));
}

void StateWriter::add(const std::string& name, const StateDict& dict) {
  // Rank 0's text is stored. All ranks throw if it, or a tensor's name, is refused; they may differ in what they have.
  auto text = on_all_ranks(communicator_, "session", [&] { return session_.rank() == 0 ? dict.to_json() : std::string(); });
  bool has_text = false;
  std::vector<std::pair<std::string, Tensor>> from_rank_0;
  for (const auto& [key, value] : dict.values()) {
    const auto tensor_name = fmt::format("{}/{}", name, key);
    if (const auto* tensor = std::get_if<Tensor>(&value))
      from_rank_0.emplace_back(tensor_name, *tensor);
    else if (const auto* each = std::get_if<StateDict::EachRank>(&value))
      add_each_rank(tensor_name, each->value);
    else if (const auto* rows = std::get_if<StateDict::RankRows>(&value))
      add_rows(tensor_name, rows->value);
    else
      has_text = true;
  }
  add_tensors_from_rank_0(from_rank_0);
  if (has_text) state_.texts.push_back({state_prefix + name, std::move(text)});
}

void StateWriter::add(Stateful& stateful) {
  StateDict dict;
  stateful.save(dict);
  add(stateful.state_name(), dict);
}

void StateWriter::add_model(bool weights_only) {
  const auto* averages = session_.averages();
  for (const auto& tensor : session_.strategy().state(StateUse::save, weights_only)) {
    if (!averages || !averages->started() || !tensor.name.starts_with(model_prefix)) {
      add_state(tensor);
      continue;
    }
    const bool as_model = averages->as_model();
    auto other = as_model ? averages->current_of(tensor) : averages->average_of(tensor);
    add_state(as_model ? averages->average_of(tensor) : averages->current_of(tensor));
    if (weights_only) continue;
    other.name = (as_model ? current_prefix : average_prefix) + tensor.name.substr(model_prefix.size());
    add_state(other);
  }
  if (!averages || !averages->started() || weights_only) return;
  StateDict counts;
  counts.set(averages_updates, averages->updates());
  add(averages_state, counts);
}

void StateWriter::add_state(const StateTensor& tensor) {
  state_.tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
  for (const auto& part : tensor.parts) add_piece(tensor.name, part.slab, part.values);
}

}  // namespace levin::detail
