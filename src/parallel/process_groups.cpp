#include "process_groups.h"

#include <ATen/ops/full.h>

#include "levin/comm/node_group.h"

namespace levin {
namespace {

Ranks ranks_of(Communicator& communicator) {
  auto* node = communicator.node();
  Ranks ranks{.all = communicator.size(), .share_memory = node != nullptr};
  ranks.of_host = node ? node->size() : 1;
  if (!node || node->size() == ranks.all) return ranks;
  const Tensor least = at::full({1}, ranks.of_host, at::kLong), leaders = at::full({1}, node->rank() == 0 ? 1 : 0, at::kLong);
  communicator.all_reduce(least, ReduceOp::min).wait();
  communicator.all_reduce(leaders).wait();
  ranks.hosts = static_cast<int>(leaders.item<int64_t>());
  if (least.item<int64_t>() * ranks.hosts != ranks.all) ranks.of_host = 0;
  return ranks;
}

}  // namespace

ProcessGroups::ProcessGroups(Communicator& all) : ranks_(ranks_of(all)), communicators_{&all, &all, nullptr} {}

void ProcessGroups::split(const ShardingPlan& plan) {
  auto& all = *communicators_.all;
  shard_.reset(), replicas_.reset();
  communicators_ = {&all, &all, nullptr};
  const int size = plan.shard_ranks, rank = all.rank();
  if (!plan.shards_updates() || size == all.size()) return;
  shard_ = all.split(rank / size, rank);
  replicas_ = all.split(rank % size, rank);
  communicators_.shard = shard_.get(), communicators_.replicas = replicas_.get();
}

void ProcessGroups::synchronize_shards() {
  if (shard_ && shard_->device().is_cpu()) shard_->barrier();
}

}  // namespace levin
