#include "run.h"

#include <algorithm>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/data/stream_loader.h"
#include "levin/trainer/log_collection.h"
#include "levin/trainer/module.h"
#include "own_part_loader.h"
#include "run_guards.h"

namespace levin {
namespace {

void check_own_parts(const DataLoaderSpec& spec, Session& session) {
  const auto refuse = [](const std::string& message, const std::string& remedy) { throw ConfigError(message, remedy, "trainer"); };
  if (!spec.dataset)
    refuse(fmt::format("use_distributed_sampler is false, and the data are a {}", spec.stream ? "stream" : "combined loader"),
           spec.stream ? "set it to true: each rank opens its part of a stream anyway" : "return a data set, or set it to true");
  if (spec.options.global_batch_size)
    refuse("use_distributed_sampler is false, and global_batch_size cuts a step over the ranks", "set batch_size");
  const auto sizes = all_gather_value(session.communicator(), spec.dataset->size());
  for (size_t rank = 1; rank < sizes.size(); rank++)
    if (sizes[rank] != sizes[0])
      refuse(fmt::format("use_distributed_sampler is false, and rank 0 has {} samples, rank {} has {}", sizes[0], rank, sizes[rank]),
             "give all ranks as many, or return an IterableDataset, whose parts may differ, and set use_distributed_sampler to true");
}

}  // namespace

void Run::set_callbacks(std::vector<std::shared_ptr<Callback>> callbacks) {
  callbacks_ = std::move(callbacks);
  hooks_.clear();
  for (const auto& callback : callbacks_) hooks_.add(*callback, callback->monitors());
  hooks_.add(module_);
}

void Run::transfer(Batch& batch) {
  call_hook("on_before_batch_transfer", data_, batch, [&] { data_.on_before_batch_transfer(batch); });
  call_hook("on_before_batch_transfer", module_, batch, [&] { module_.on_before_batch_transfer(batch); });
  call_hook("transfer_batch_to_device", data_, batch, [&] { data_.transfer_batch_to_device(batch, session()); });
  call_hook("on_after_batch_transfer", data_, batch, [&] { data_.on_after_batch_transfer(batch); });
  call_hook("on_after_batch_transfer", module_, batch, [&] { module_.on_after_batch_transfer(batch); });
}

void Run::end_train_epoch(LogCollection& logs) {
  hooks_.call_others("on_train_epoch_end", &Hooks::on_train_epoch_end);
  logging().log_metrics(logs.epoch_values(session().mesh().data_communicator()));
  hooks_.call_monitors("on_train_epoch_end", &Hooks::on_train_epoch_end);
}

int64_t Run::accumulate_grad_batches_of(int64_t epoch) const {
  for (const auto& callback : callbacks_)
    if (const auto batches = callback->accumulate_grad_batches(epoch)) return *batches;
  return config().accumulate_grad_batches;
}

bool Run::schedules_accumulation() const {
  return std::any_of(callbacks_.begin(), callbacks_.end(),
                     [](const auto& callback) { return callback->accumulate_grad_batches(0).has_value(); });
}

std::unique_ptr<Loader> Run::make_loader(const DataLoaderSpec& spec, bool training) {
  if (!spec.has_data()) throw ConfigError("no data to fit", "override the data module's train_dataloader", "trainer");
  const auto& mesh = session().mesh();
  const bool own_parts = !config().use_distributed_sampler;
  if (own_parts) check_own_parts(spec, session());
  const LoaderPartition partition{
      .rank = own_parts ? 0 : mesh.data().index,
      .world_size = own_parts ? 1 : mesh.data().size(),
      .accumulate =
          training ? accumulate_ : config().accumulate_grad_batches,  // in evaluation, too: a part of a global batch fits in memory
      .seed = session().seed()};
  if (!spec.parts.empty()) {
    if (!training) throw ConfigError("an evaluation has a combined loader", "return several loaders from val_dataloaders", "trainer");
    auto parts = spec.parts;
    if (config().overfit_batches.number() > 0)
      for (auto& part : parts) part.options.shuffle = false;
    return std::make_unique<CombinedLoader>(parts, spec.mode, partition);
  }
  DataLoaderOptions options = training ? spec.options : spec.options.for_evaluation();
  if (config().overfit_batches.number() > 0) options.shuffle = false;
  if (training && train_batch_size_) options.batch_size = train_batch_size_, options.global_batch_size.reset();
  if (spec.stream) return std::make_unique<StreamLoader>(spec.stream, options, partition, mesh.data_communicator());
  auto loader = std::make_unique<DataLoader>(spec.dataset, options, partition);
  if (own_parts) return std::make_unique<OwnPartLoader>(std::move(loader), mesh.data().size());
  return loader;
}

int64_t Run::allowed_batches(const Limit& limit, const Loader& loader, const char* option) {
  if (const auto length = loader.length()) {
    const int64_t batches = limit.of(*length);
    if (batches == 0 && limit.is_fraction() && limit.number() > 0)
      throw ConfigError(fmt::format("{} is {}, which is less than one of {} batches", option, limit.to_text(), *length),
                        fmt::format("give at least {:.3g}, or a number of batches", 1.0 / static_cast<double>(*length)), "trainer");
    return batches;
  }
  if (!limit.is_fraction()) return limit.of(unlimited);
  if (limit.number() != 0 && limit.number() != 1)
    throw ConfigError(fmt::format("{} is {} of data of unknown length", option, limit.to_text()), "give a number of batches, 0.0 or 1.0",
                      "trainer");
  return limit.number() == 0 ? 0 : unlimited;
}

}  // namespace levin
