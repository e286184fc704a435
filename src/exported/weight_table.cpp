#include "weight_table.h"

#include <fmt/format.h>

#include "levin/core/error.h"
#include "levin/core/text.h"
#include "stored_tensors.h"

namespace levin::exported {

WeightTable::WeightTable(const Archive& archive, const std::string& main) {
  const auto config = fmt::format("data/weights/{}_weights_config.json", main),
             safetensors = fmt::format("data/weights/{}.safetensors", main);
  gradients_known_ = !archive.has(safetensors);
  if (!gradients_known_ && archive.has(config))
    throw DataError(fmt::format("{}: {} and {} both have the weights", archive.path().string(), config, safetensors), "keep one of them",
                    "exported");
  weights_ = gradients_known_ ? merge_tied(read_stored_tensors(archive, config, "data/weights/"), archive.path().string())
                              : read_safetensors(archive, safetensors);
  check_total(weights_, archive);
  for (size_t i = 0; i < weights_.size(); i++) {
    index_.emplace(weights_[i].name, static_cast<int>(i));
    for (const auto& alias : weights_[i].aliases) index_.emplace(alias, static_cast<int>(i));
  }
}

int WeightTable::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? -1 : found->second;
}

int WeightTable::add_buffer(Weight buffer) {
  buffer.parameter = buffer.persistent = buffer.requires_grad = false;
  const auto [place, fresh] = index_.emplace(buffer.name, static_cast<int>(weights_.size()));
  if (fresh) weights_.push_back(std::move(buffer));
  return place->second;
}

void WeightTable::bind(int index, InputKind kind, const TensorMeta& meta, const JsonPlace& json) {
  auto& weight = weights_[static_cast<size_t>(index)];
  check_same(weight, meta, json);
  const bool parameter = kind == InputKind::parameter;
  if (!gradients_known_) {
    weight.parameter = weight.parameter || parameter;
    weight.requires_grad = weight.requires_grad || (parameter && meta.requires_grad);
  } else if (parameter && !weight.parameter) {
    json.refuse(fmt::format("is a parameter, but {} is stored as a buffer", quote(weight.name)));
  }
}

std::vector<Weight> WeightTable::take(const std::string& archive) {
  const auto refuse = [&](const std::string& why) { throw DataError(fmt::format("{}: {}", archive, why), export_again, "exported"); };
  for (const auto& [name, index] : index_) {
    if (name.starts_with('.') || name.ends_with('.') || name.find("..") != std::string::npos)
      refuse(fmt::format("{} is not the name of a weight", quote(name)));
    for (auto dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1))
      if (index_.contains(name.substr(0, dot)))
        refuse(fmt::format("{} is a weight, but {} is in a module of this name", quote(name.substr(0, dot)), quote(name)));
  }
  return std::move(weights_);
}

void check_same(const Weight& weight, const TensorMeta& meta, const JsonPlace& json) {
  bool same = weight.dtype == meta.dtype && weight.sizes.size() == meta.sizes.size();
  for (size_t i = 0; same && i < meta.sizes.size(); i++) same = meta.sizes[i].fixed() && meta.sizes[i].offset == weight.sizes[i];
  if (same) return;
  std::vector<std::string> expected;
  for (const auto& size : meta.sizes) expected.push_back(size.fixed() ? fmt::format("{}", size.offset) : size.expression);
  json.refuse(fmt::format("is {} [{}] in the graph, but {} is stored as {} [{}]", c10::toString(meta.dtype), listed(expected),
                          quote(weight.name), c10::toString(weight.dtype), fmt::join(weight.sizes, ", ")));
}

}  // namespace levin::exported
