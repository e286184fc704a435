#pragma once
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "flat_buffer.h"
#include "group_sharding.h"
#include "levin/parallel/state_tensor.h"
#include "process_groups.h"

namespace levin {

/// Holds the parameters of one flat group on this rank: the whole, which forward and backward read, and the shard that this rank's
/// optimizer updates. One class per GroupSharding::Store. Calls are local unless marked collective; all ranks make collective calls in the
/// same order.
class ParameterStore {
 public:
  ParameterStore(Tensor whole, Range owned, GroupCommunicators communicators)
      : whole_(std::move(whole)), owned_(owned), communicators_(communicators) {}
  virtual ~ParameterStore() = default;
  ParameterStore(const ParameterStore&) = delete;
  ParameterStore& operator=(const ParameterStore&) = delete;

  /// [numel] in the compute dtype. The tensor and its views stay valid for the store's life; its elements only while unsharded().
  const Tensor& whole() const noexcept { return whole_; }
  /// The elements that this rank updates.
  Range owned() const noexcept { return owned_; }
  /// [owned().size()] in the group's dtype, in host memory or on the device.
  virtual Tensor shard() const { return owned_part(); }

  virtual bool unsharded() const { return true; }
  /// Whether it ever is not.
  virtual bool reshards() const { return false; }
  /// Gives `whole` memory and starts the all-gather of the shards. Collective; CommunicatorError that names `label` and the other unit if
  /// another rank unshards another one.
  virtual void start_unshard() {}
  /// After start_unshard: `whole` is readable.
  virtual void finish_unshard() {}
  /// Frees the memory of `whole`; what was written into it is lost unless write_back followed.
  virtual void reshard() {}
  /// Copies values written into `whole` to the shards. Where `whole` has a narrower dtype, elements that were not written keep their bits.
  /// Collective.
  virtual void write_back() {}
  /// After updates of shards: starts making them visible in every rank's `whole`. Collective. Stores that need only a barrier, which is
  /// common to all groups, and stores that unshard again do nothing.
  virtual Work publish() { return {}; }

  /// Whether this rank writes initial values, or those of Strategy::write_parameters, into `whole`. Others see what it wrote.
  virtual bool writes() const { return true; }
  /// Gives `whole` memory. Returns where initial values are written, its padding zero: `whole`, by the ranks that write, or, where that
  /// has a narrower dtype than the shards, memory in theirs, by all ranks. Local.
  virtual Tensor begin_write() { return whole_; }
  /// Initial values are written: all ranks get rank 0's, or, where `equal`, each writer's, and shards their part. Collective.
  virtual void share_initial(bool equal);

  /// The elements that this rank fills while a checkpoint is loaded; values(range) lies within.
  virtual Range load_range() const { return {0, whole_.numel()}; }
  /// [range.size()], the stored elements, not a copy. `range` lies within load_range() or is a part of this rank's shard.
  virtual Tensor values(Range range) const { return whole_.narrow(0, range.begin, range.size()); }

 protected:
  /// Of `whole`.
  Tensor owned_part() const { return whole_.narrow(0, owned_.begin, owned_.size()); }

  Tensor whole_;
  Range owned_;
  GroupCommunicators communicators_;
};

/// Every rank has all parameters. Where updates are sharded, the updated shards are all-gathered.
class ReplicatedStore final : public ParameterStore {
 public:
  ReplicatedStore(Tensor whole, Range owned, GroupCommunicators communicators, bool gathers)
      : ParameterStore(std::move(whole), owned, communicators), gathers_(gathers) {}
  Work publish() override;

 private:
  bool gathers_;
};

/// `whole` lies in a window that all ranks of a node see; the first of them writes.
class NodeSharedStore final : public ParameterStore {
 public:
  NodeSharedStore(Tensor whole, Range owned, GroupCommunicators communicators, bool several_nodes)
      : ParameterStore(std::move(whole), owned, communicators), several_nodes_(several_nodes) {}
  Work publish() override;
  bool writes() const override;
  void share_initial(bool equal) override;
  Range load_range() const override;

 private:
  bool several_nodes_;
};

/// This rank keeps its shard; `whole` is an alias of a buffer that has memory from start_unshard to reshard.
class ShardedStore : public ParameterStore {
 public:
  /// `label` names the group's unit where ranks disagree about an all-gather. `ring`: where `whole` is gathered; null: in any memory.
  ShardedStore(FlatBuffer whole, Tensor shard, Range owned, GroupCommunicators communicators, std::string label, SlotRing* ring = nullptr);
  Tensor shard() const final { return shard_; }
  bool unsharded() const final { return buffer_.filled(); }
  bool reshards() const final { return true; }
  void start_unshard() final;
  void finish_unshard() final;
  void reshard() final;
  void write_back() override;
  Tensor begin_write() final;
  void share_initial(bool equal) final;
  Range load_range() const final { return owned_; }
  Tensor values(Range range) const final { return shard_.narrow(0, range.begin - owned_.begin, range.size()); }

 protected:
  virtual Work start_all_gather();
  virtual void share_initial_whole(bool equal) { ParameterStore::share_initial(equal); }

  FlatBuffer buffer_;
  Tensor shard_;
  Tensor initial_;  // the whole in the shard's dtype, from begin_write to share_initial
  std::string label_;
  std::optional<Work> all_gather_;
};

/// The same with a buffer that the ranks of a node share: its ranks write their shards there, and shards of other nodes are received once.
class NodeGatheredStore final : public ShardedStore {
 public:
  using ShardedStore::ShardedStore;
  void write_back() override;
  bool writes() const override;

 protected:
  Work start_all_gather() override;
  void share_initial_whole(bool equal) override;
};

}  // namespace levin
