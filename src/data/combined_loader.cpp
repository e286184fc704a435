#include "levin/data/combined_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "levin/core/error.h"
#include "levin/core/mix_seed.h"

namespace levin {
namespace {

int64_t begin_of(const DataLoader& loader, int64_t number) {
  return number == loader.batches() ? loader.plan().samples() : loader.plan().global_range(number).begin;
}

void seek(DataLoader& loader, int64_t epoch, int64_t number) { loader.restore({epoch, begin_of(loader, number)}); }

// Parts of equal sizes would have equal orders otherwise. The first part has the order that it has alone.
LoaderPartition partition_of(const LoaderPartition& partition, size_t part) {
  auto salted = partition;
  for (size_t i = 0; i < part; ++i) salted.seed = mix_seed(salted.seed);
  return salted;
}

}  // namespace

CombinedLoader::CombinedLoader(const std::vector<CombinedPart>& parts, CombinedMode mode, const LoaderPartition& partition) : mode_(mode) {
  if (parts.empty()) throw UsageError("data", "a combined loader has no parts", "give at least one");
  for (const auto& part : parts) {
    if (std::find(names_.begin(), names_.end(), part.name) != names_.end())
      throw UsageError("data", fmt::format("two parts of a combined loader are named \"{}\"", part.name));
    names_.push_back(part.name);
    loaders_.push_back(std::make_unique<DataLoader>(part.dataset, part.options, partition_of(partition, loaders_.size())));
  }
  const auto shorter = [](const auto& a, const auto& b) { return a->batches() < b->batches(); };
  if (mode == CombinedMode::sequential) {
    for (const auto& loader : loaders_) batches_ += loader->batches();
  } else {
    const auto leading = mode == CombinedMode::min_size ? std::min_element(loaders_.begin(), loaders_.end(), shorter)
                                                        : std::max_element(loaders_.begin(), loaders_.end(), shorter);
    leading_ = static_cast<size_t>(leading - loaders_.begin());
    for (size_t i = 0; i < parts.size(); ++i) {
      auto options = parts[i].options;
      if (i == leading_ || std::exchange(options.drop_last, true)) continue;
      loaders_[i] = std::make_unique<DataLoader>(parts[i].dataset, options, partition_of(partition, i));
    }
    batches_ = loaders_[leading_]->batches();
    if (mode == CombinedMode::min_size)
      for (const auto& loader : loaders_) batches_ = std::min(batches_, loader->batches());
  }
  cycles_.resize(loaders_.size());
  go_to(0, 0);
}

CombinedLoader::Place CombinedLoader::place_of(int64_t number) const {
  size_t part = 0;
  for (; part + 1 < loaders_.size() && number >= loaders_[part]->batches(); ++part) number -= loaders_[part]->batches();
  return {part, number};
}

void CombinedLoader::go_to(int64_t epoch, int64_t number) {
  epoch_ = epoch;
  number_ = number;
  if (mode_ == CombinedMode::sequential) {
    const auto [part, number_in_part] = place_of(number);
    for (size_t i = 0; i < loaders_.size(); ++i) seek(*loaders_[i], epoch, i == part ? number_in_part : 0);
    return;
  }
  for (size_t i = 0; i < loaders_.size(); ++i) {
    auto& loader = *loaders_[i];
    const int64_t cycles = (batches_ + loader.batches() - 1) / loader.batches(), cycle = std::min(number / loader.batches(), cycles - 1);
    cycles_[i] = epoch * cycles + cycle;
    seek(loader, cycles_[i], number - cycle * loader.batches());
  }
}

bool CombinedLoader::reads_ahead() const {
  return std::any_of(loaders_.begin(), loaders_.end(), [](const auto& loader) { return loader->reads_ahead(); });
}

bool CombinedLoader::wait(int64_t batches, std::chrono::milliseconds most) {
  if (number_ == batches_) return true;
  if (mode_ == CombinedMode::sequential) return loaders_[place_of(number_).part]->wait(batches, most);
  const auto now = [] { return std::chrono::steady_clock::now(); };
  const auto end = now() + most;
  constexpr std::chrono::milliseconds none{0};
  for (auto& loader : loaders_) loader->wait(batches, none);  // all begin to read
  return std::all_of(loaders_.begin(), loaders_.end(), [&](const auto& loader) {
    return loader->wait(batches, std::max(none, std::chrono::duration_cast<std::chrono::milliseconds>(end - now())));
  });
}

bool CombinedLoader::stop_reading(std::chrono::milliseconds most) {
  return std::all_of(loaders_.begin(), loaders_.end(), [&](const auto& loader) { return loader->stop_reading(most); });
}

Batch* CombinedLoader::next() {
  if (number_ == batches_) return nullptr;
  try {
    Batch* batch = mode_ == CombinedMode::sequential ? next_in_sequence() : next_of_all();
    ++number_;
    return batch;
  } catch (...) {
    go_to(epoch_, number_);  // parts that were read go back
    throw;
  }
}

Batch* CombinedLoader::next_in_sequence() {
  const size_t part = place_of(number_).part;
  Batch* batch = loaders_[part]->next();
  batch->set_dataloader_idx(static_cast<int64_t>(part));
  global_samples_ = loaders_[part]->global_samples();
  return batch;
}

Batch* CombinedLoader::next_of_all() {
  batch_ = Batch();  // so that the parts can fill their tensors again
  for (size_t i = 0; i < loaders_.size(); ++i) {
    auto& loader = *loaders_[i];
    Batch* part = loader.next();
    if (!part) {
      loader.set_epoch(++cycles_[i]);
      part = loader.next();
    }
    for (const auto& [name, tensor] : part->tensors()) batch_.set(names_[i] + "/" + name, tensor);
    if (i != leading_) continue;
    batch_.set_indices(part->indices());
    batch_.set_padding(part->padding());
    if (!part->padding()) batch_.set_weight(part->weight());
    global_samples_ = loader.global_samples();
  }
  return &batch_;
}

int64_t CombinedLoader::step_samples() const {
  const int64_t samples = loaders_[leading_]->step_samples();
  const auto same = [&](const auto& loader) { return loader->step_samples() == samples; };
  return mode_ != CombinedMode::sequential || std::all_of(loaders_.begin(), loaders_.end(), same) ? samples : 0;
}

LoaderState CombinedLoader::state() const {
  if (mode_ != CombinedMode::sequential) return {epoch_, begin_of(*loaders_[leading_], number_)};
  const auto [part, number] = place_of(number_);
  int64_t before = 0;
  for (size_t i = 0; i < part; ++i) before += loaders_[i]->plan().samples();
  return {epoch_, before + begin_of(*loaders_[part], number)};
}

int64_t CombinedLoader::restore(const LoaderState& state) {
  size_t part = leading_;
  int64_t samples = state.samples, before = 0;
  if (mode_ == CombinedMode::sequential)
    for (part = 0; part + 1 < loaders_.size() && samples >= loaders_[part]->plan().samples(); ++part) {
      samples -= loaders_[part]->plan().samples();
      before += loaders_[part]->batches();
    }
  const int64_t number = before + loaders_[part]->restore({state.epoch, samples});
  if (number > batches_)
    throw ConfigError(fmt::format("cannot resume at batch {} of epoch {}, which has {}", number, state.epoch, batches_),
                      "keep the data sets and batch sizes of the run that is resumed");
  go_to(state.epoch, number);
  return number;
}

}  // namespace levin
