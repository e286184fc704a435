// The collectives that a plan lists are those that the engine starts: kind, bytes, ranks and order.
#include <cmath>
#include <memory>
#include <ostream>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/parallel/strategy.h"
#include "levin/plan/plan.h"
#include "levin/session/precision.h"
#include "levin_test.h"
#include "planned_models.h"

using levin::CollectiveOp;
using levin::Communicator;
using levin::NodeGroup;
using levin::Strategy;
using levin::Tensor;
using levin::Work;
using levin::test::Gpt;

BOOST_AUTO_TEST_SUITE(plan_collectives)

namespace {

struct Call {
  CollectiveOp op;
  int64_t bytes;
  int ranks;
  bool operator==(const Call&) const = default;
};
using Calls = std::vector<Call>;

std::ostream& operator<<(std::ostream& out, const Call& call) {
  return out << levin::name_of(call.op) << " of " << call.bytes << " bytes on " << call.ranks;
}

// Small exchanges go through the node's group, where all ranks are in one.
class RecordingNode final : public NodeGroup {
 public:
  RecordingNode(NodeGroup& inner, std::shared_ptr<Calls> calls) : inner_(inner), calls_(std::move(calls)) {
    rank_ = inner.rank(), size_ = inner.size();
  }
  std::shared_ptr<levin::SharedWindow> allocate(size_t bytes, levin::OnNoSpace on_no_space) override {
    return inner_.allocate(bytes, on_no_space);
  }
  std::shared_ptr<levin::SharedBufferPool> allocate_buffer_pool(const std::vector<size_t>& bytes, levin::OnNoSpace on_no_space) override {
    return inner_.allocate_buffer_pool(bytes, on_no_space);
  }
  void barrier() override { inner_.barrier(); }
  void exchange_bytes(std::span<const std::byte> mine, std::span<std::byte> all) override {
    calls_->push_back({CollectiveOp::exchange, static_cast<int64_t>(all.size()), size_});
    inner_.exchange_bytes(mine, all);
  }
  void pause(int turns) override { inner_.pause(turns); }
  std::unique_ptr<NodeGroup> split(int color, int key) override { return inner_.split(color, key); }
  bool abort(std::string_view reason) noexcept override { return inner_.abort(reason); }
  bool aborted() const noexcept override { return inner_.aborted(); }
  bool aborted_by_this_rank() const noexcept override { return inner_.aborted_by_this_rank(); }
  void abort_for(const levin::AbortNotice& notice) noexcept override { inner_.abort_for(notice); }
  levin::AbortNotice abort_notice() const override { return inner_.abort_notice(); }

 private:
  NodeGroup& inner_;
  std::shared_ptr<Calls> calls_;
};

class RecordingCommunicator : public Communicator {
 public:
  /// `shares_memory`: false for ranks that hide it, as devices do.
  RecordingCommunicator(Communicator& inner, std::shared_ptr<Calls> calls, bool shares_memory = true)
      : calls_(std::move(calls)), inner_(inner), shares_memory_(shares_memory), node_(*inner.node(), calls_) {
    rank_ = inner.rank(), size_ = inner.size();
  }
  RecordingCommunicator(std::unique_ptr<Communicator> inner, const std::shared_ptr<Calls>& calls, bool shares_memory)
      : RecordingCommunicator(*inner, calls, shares_memory) {
    owned_ = std::move(inner);
  }

  uint64_t sequence() const noexcept override { return inner_.sequence(); }
  Work all_reduce(const Tensor& tensor, levin::ReduceOp op, std::string_view label) override {
    record(CollectiveOp::all_reduce, tensor);
    return inner_.all_reduce(tensor, op, label);
  }
  Work reduce_scatter(const Tensor& output, const Tensor& input, levin::ReduceOp op, std::string_view label) override {
    record(CollectiveOp::reduce_scatter, input);
    return inner_.reduce_scatter(output, input, op, label);
  }
  Work all_gather(const Tensor& output, const Tensor& input, std::string_view label) override {
    record(CollectiveOp::all_gather, output);
    return inner_.all_gather(output, input, label);
  }
  Work gather_shared(const Tensor& whole, std::string_view label) override {
    record(CollectiveOp::gather_shared, whole);
    return inner_.gather_shared(whole, label);
  }
  Work broadcast(const Tensor& tensor, int root, std::string_view label) override { return inner_.broadcast(tensor, root, label); }
  Work all_to_all(const Tensor& output, std::span<const int64_t> output_counts, const Tensor& input, std::span<const int64_t> input_counts,
                  std::string_view label) override {
    return inner_.all_to_all(output, output_counts, input, input_counts, label);
  }
  Work transfer(std::span<const levin::Transfer> transfers, std::string_view label) override { return inner_.transfer(transfers, label); }
  void barrier(std::string_view label) override {
    calls_->push_back({CollectiveOp::barrier, 0, size_});
    inner_.barrier(label);
  }
  Tensor allocate(int64_t numel, at::ScalarType dtype) override { return inner_.allocate(numel, dtype); }
  std::unique_ptr<Communicator> split(int color, int key) override {
    return std::make_unique<RecordingCommunicator>(inner_.split(color, key), calls_, shares_memory_);
  }
  void abort(const std::string& reason) noexcept override { inner_.abort(reason); }
  Communicator& cpu() noexcept override;
  NodeGroup* node() noexcept override { return shares_memory_ ? &node_ : nullptr; }

 protected:
  virtual void record(CollectiveOp op, const Tensor& whole) { calls_->push_back({op, static_cast<int64_t>(whole.nbytes()), size_}); }

  std::shared_ptr<Calls> calls_;

 private:
  Communicator& inner_;
  bool shares_memory_;
  std::unique_ptr<Communicator> owned_;
  RecordingNode node_;
  std::unique_ptr<Communicator> host_;
};

// What goes through cpu() are exchanges of a few numbers.
class RecordingHost final : public RecordingCommunicator {
 public:
  using RecordingCommunicator::RecordingCommunicator;
  Communicator& cpu() noexcept override { return *this; }

 protected:
  void record(CollectiveOp, const Tensor& whole) override {
    calls_->push_back({CollectiveOp::exchange, static_cast<int64_t>(whole.nbytes()), size_});
  }
};

Communicator& RecordingCommunicator::cpu() noexcept {
  if (!host_) host_ = std::make_unique<RecordingHost>(inner_.cpu(), calls_);
  return *host_;
}

constexpr int64_t micro_batches = 2;
constexpr int steps = 3;

// Each step's collectives, with clipping by norm.
std::vector<Calls> record_steps(Strategy& strategy, Gpt& model, Calls& calls, std::optional<c10::ScalarType> autocast_dtype = {}) {
  std::vector<Calls> recorded;
  for (int step = 0; step < steps; step++) {
    calls.clear();
    for (int64_t micro = 0; micro < micro_batches; micro++) {
      Tensor loss;
      {
        const levin::Autocast autocast(at::kCPU, autocast_dtype);
        loss = model.loss(8);
      }
      if (micro + 1 == micro_batches) strategy.expect_step();
      strategy.backward(loss, 1);
    }
    strategy.reduce(strategy.synchronize_step(0));
    strategy.clip_by_norm(strategy.grad_norm(), 1);
    strategy.update([](double lr) { return lr; });
    strategy.zero_grad();
    recorded.push_back(calls);
  }
  return recorded;
}

std::vector<Calls> planned_steps(const levin::PlanModel& model, const levin::ShardingPlan& sharding, const levin::Ranks& ranks) {
  std::vector<Calls> planned;
  for (const auto& step : levin::plan_collectives(model, sharding, ranks, {.micro_batches = micro_batches, .clip_by_norm = true}, steps)) {
    planned.emplace_back();
    for (const auto& collective : step) {
      if (collective.op == CollectiveOp::read_peers) continue;  // no collective: ranks read memory that they share
      const int size = collective.role == levin::MeshRole::loss     ? sharding.ranks
                       : collective.role == levin::MeshRole::shards ? sharding.shard_ranks
                                                                    : sharding.ranks / sharding.shard_ranks;
      planned.back().push_back({collective.op, collective.bytes, size});
    }
  }
  return planned;
}

}  // namespace

namespace {

levin::Ranks ranks_of(Communicator& world) {
  const int size = world.size(), local = world.node()->size();
  levin::Ranks ranks{.all = size, .ranks_per_node = local};
  if (local < size) ranks.hosts = 2, ranks.ranks_per_node = size % 2 == 0 ? size / 2 : 0;
  return ranks;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_plan_lists_what_the_engine_starts) {
  const auto world = Communicator::create_cpu(levin::test::runtime());
  const int size = world->size();
  const auto ranks = ranks_of(*world);
  auto configs = levin::test::planned_configs(size);
  const levin::ShardingOptions own{.share_parameters = levin::ShareParameters::none};
  auto ahead = own;
  ahead.prefetch = 3, ahead.limit_all_gathers = 3;
  configs.emplace_back("fsdp, prefetch 3", levin::FSDP{levin::ShardingStrategy::full_shard, ahead});
  for (const bool checkpointed : {false, true})
    for (const auto& [name, config] : configs) {
      const auto calls = std::make_shared<Calls>();
      RecordingCommunicator communicator(*world, calls);
      const auto strategy = Strategy::create(config, communicator);
      std::shared_ptr<Gpt> model;
      {
        const auto context = strategy->open_build_context();
        at::manual_seed(1);
        model = std::make_shared<Gpt>(6, checkpointed);
      }
      const levin::OptimizerSpec spec = levin::AdamW{.lr = 0.01};
      const auto described = levin::describe_model(*model, {spec}, {}, strategy->plan().options.min_num_params);
      strategy->setup(*model, {spec});
      const auto recorded = record_steps(*strategy, *model, *calls);
      const auto planned = planned_steps(described, strategy->plan(), ranks);
      for (int step = 0; step < steps; step++) {
        BOOST_TEST_INFO_SCOPE(name << (checkpointed ? ", checkpointed" : "") << ", step " << step);
        BOOST_TEST(recorded[step] == planned[step], boost::test_tools::per_element());
        BOOST_TEST((size == 1 || !recorded[step].empty()));
      }
      world->barrier();
    }
}

// As on devices: ranks of a host share no tensors, and collectives overlap inside a host, too.
BOOST_AUTO_TEST_CASE(a_plan_lists_what_ranks_without_shared_memory_start) {
  const auto world = Communicator::create_cpu(levin::test::runtime());
  const int size = world->size();
  auto ranks = ranks_of(*world);
  ranks.share_memory = false;
  const levin::ShardingOptions halves{.shard_group_size = size % 2 == 0 ? size / 2 : 1};
  auto late = halves;
  late.reduce_every_backward = false;
  std::vector<std::pair<std::string, levin::StrategyConfig>> configs{{"ddp", levin::DDP{}},
                                                                     {"zero1", levin::Zero1{}},
                                                                     {"zero2", levin::Zero2{}},
                                                                     {"fsdp", levin::FSDP{}},
                                                                     {"hsdp of halves", levin::HSDP{halves}},
                                                                     {"hsdp of halves, late", levin::HSDP{late}}};
  if (ranks.ranks_per_node > 0) configs.emplace_back("hsdp", levin::HSDP{});
  for (const auto& autocast_dtype : {std::optional<c10::ScalarType>(), std::optional(c10::ScalarType::BFloat16)})
    for (const auto& [name, config] : configs) {
      const auto calls = std::make_shared<Calls>();
      RecordingCommunicator communicator(*world, calls, /*shares_memory=*/false);
      const auto strategy = Strategy::create(config, communicator, 64, {}, {}, autocast_dtype);
      const auto& sharding = strategy->plan();
      if (name == "hsdp") BOOST_TEST(sharding.shard_ranks == ranks.ranks_per_node);
      // `plan` describes the same ranks as a cluster.
      if (ranks.ranks_per_node > 0) {
        const levin::ClusterConfig cluster{
            .nodes = ranks.hosts, .devices_per_node = ranks.ranks_per_node, .device_memory = levin::Bytes{int64_t{1} << 30}};
        const auto planned = levin::resolve_strategy(config, levin::ranks_of(cluster), autocast_dtype);
        BOOST_TEST(planned.describe() == sharding.describe());
        BOOST_TEST(planned.shard_ranks == sharding.shard_ranks);
        BOOST_TEST(bool(planned.placements == sharding.placements));
      }
      std::shared_ptr<Gpt> model;
      {
        const auto context = strategy->open_build_context();
        at::manual_seed(1);
        model = std::make_shared<Gpt>(6);
      }
      const levin::OptimizerSpec spec = levin::AdamW{.lr = 0.01};
      const auto described = levin::describe_model(*model, {spec}, {}, sharding.options.min_num_params);
      strategy->setup(*model, {spec});
      auto recorded = record_steps(*strategy, *model, *calls, autocast_dtype);
      const auto planned = planned_steps(described, sharding, ranks);
      for (int step = 0; step < steps; step++) {
        std::erase_if(recorded[step], [](const Call& call) { return call.op == CollectiveOp::barrier; });  // of shard groups on CPUs
        BOOST_TEST_INFO_SCOPE(name << (autocast_dtype ? ", mixed" : "") << ", step " << step);
        BOOST_TEST(recorded[step] == planned[step], boost::test_tools::per_element());
        BOOST_TEST((size == 1 || !recorded[step].empty()));
      }
      // Slots of the arena included, and buffers that move out of theirs.
      const auto memory = levin::plan_memory(described, sharding, ranks, micro_batches).first.total(), peak = strategy->memory().peak();
      BOOST_CHECK_MESSAGE(std::abs(static_cast<double>(memory - peak)) <= 0.05 * static_cast<double>(peak),
                          name << (autocast_dtype ? ", mixed" : "") << ": planned " << memory << ", measured " << peak);
      world->barrier();
    }
}

BOOST_AUTO_TEST_SUITE_END()
