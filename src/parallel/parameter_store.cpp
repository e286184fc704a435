#include "parameter_store.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <utility>

#include "levin/comm/node_group.h"

namespace levin {
namespace {

bool first_of_node(Communicator& communicator) { return communicator.node()->rank() == 0; }

// Only the first rank of a node may write into memory that the node shares.
void broadcast_to_nodes(Communicator& communicator, const Tensor& whole) {
  communicator.broadcast(first_of_node(communicator) ? whole : at::empty_like(whole), 0).wait();
}

}  // namespace

void ParameterStore::share_initial(bool equal) {
  if (communicators_.all->size() > 1 && !equal) communicators_.all->broadcast(whole_, 0).wait();
}

Work ReplicatedStore::publish() { return gathers_ ? communicators_.shard->all_gather(whole_, shard()) : Work(); }

Work NodeSharedStore::publish() { return several_nodes_ ? communicators_.all->gather_shared(whole_) : Work(); }

bool NodeSharedStore::writes() const { return first_of_node(*communicators_.all); }

void NodeSharedStore::share_initial(bool equal) {
  auto& all = *communicators_.all;
  equal || !several_nodes_ ? all.barrier() : broadcast_to_nodes(all, whole_);
}

// The ranks of a node fill their copy together. Their number need not divide the elements, of which all ranks have equal shards.
Range NodeSharedStore::load_range() const {
  const auto* node = communicators_.all->node();
  const int64_t numel = whole_.numel(), ranks = node->size();
  return {numel * node->rank() / ranks, numel * (node->rank() + 1) / ranks};
}

ShardedStore::ShardedStore(FlatBuffer whole, Tensor shard, Range owned, GroupCommunicators communicators, std::string label, SlotRing* ring)
    : ParameterStore(whole.tensor(), owned, communicators), buffer_(std::move(whole)), shard_(std::move(shard)), label_(std::move(label)) {
  buffer_.use_ring(ring, [this] { finish_unshard(); });
}

void ShardedStore::start_unshard() {
  if (unsharded()) return;
  at::NoGradGuard no_grad;
  buffer_.fill_for_collective();
  all_gather_ = start_all_gather();
}

// A shard in another dtype, or in host memory, is converted into its place in the whole, and gathered in place.
Work ShardedStore::start_all_gather() {
  if (shard_.scalar_type() == whole_.scalar_type() && shard_.device() == whole_.device())
    return communicators_.shard->all_gather(whole_, shard_, label_);
  const Tensor part = owned_part();
  part.copy_(shard_);
  return communicators_.shard->all_gather(whole_, part, label_);
}

void ShardedStore::finish_unshard() {
  if (!all_gather_) return;
  std::exchange(all_gather_, std::nullopt)->wait();
}

void ShardedStore::reshard() {
  finish_unshard();
  buffer_.drop();
}

void ShardedStore::write_back() {
  const Tensor part = owned_part();
  if (part.scalar_type() == shard_.scalar_type()) {
    shard_.copy_(part);
    return;
  }
  const Tensor before = shard_.to(part.device());
  shard_.copy_(at::where(part.ne(before.to(part.scalar_type())), part.to(before.scalar_type()), before));
}

Tensor ShardedStore::begin_write() {
  buffer_.fill();
  if (whole_.scalar_type() != shard_.scalar_type())
    return initial_ = at::zeros({whole_.numel()}, whole_.options().dtype(shard_.scalar_type()));
  if (writes()) whole_.zero_();
  return whole_;
}

void ShardedStore::share_initial(bool equal) {
  if (!initial_.defined()) {
    share_initial_whole(equal);
    write_back();
    return;
  }
  if (communicators_.all->size() > 1 && !equal) communicators_.all->broadcast(initial_, 0).wait();
  shard_.copy_(initial_.narrow(0, owned_.begin, owned_.size()));
  initial_.reset();
}

Work NodeGatheredStore::start_all_gather() {
  owned_part().copy_(shard_);
  return communicators_.shard->gather_shared(buffer_.shared_view(), label_);
}

void NodeGatheredStore::write_back() {
  communicators_.all->barrier();  // the first rank of the node has written
  ShardedStore::write_back();
}

bool NodeGatheredStore::writes() const { return first_of_node(*communicators_.all); }

void NodeGatheredStore::share_initial_whole(bool equal) {
  if (!equal) broadcast_to_nodes(*communicators_.all, whole_);
}

}  // namespace levin
