// The strategies that shard: equal to one rank, whatever the model is made of.
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim/sgd.h>

#include <set>

#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/parallel/strategy.h"
#include "levin/plan/memory_check.h"
#include "levin/session/precision.h"
#include "levin_test.h"
#include "random_model.h"

using levin::ShardingOptions;
using levin::ShareParameters;
using levin::Strategy;
using levin::StrategyConfig;
using levin::Tensor;
using levin::test::check_throws;
using levin::test::RandomModel;

BOOST_AUTO_TEST_SUITE(parallel_sharding)

namespace {

struct Result {
  std::vector<double> losses;
  std::map<std::string, Tensor> parameters;
};

constexpr int64_t samples = 12;
constexpr int steps = 3, micro_batches = 2;

// Steps of two micro-batches of samples that are cut evenly over the ranks. Dropout's masks are the samples' own only on one rank, so it is
// off where `evaluate`.
Result train(const StrategyConfig& config, levin::Communicator& communicator, uint32_t seed, bool evaluate) {
  auto strategy = Strategy::create(config, communicator);
  std::shared_ptr<RandomModel> model;
  {
    const auto context = strategy->open_build_context();
    at::manual_seed(seed);
    model = std::make_shared<RandomModel>(seed);
  }
  if (evaluate) model->eval();
  levin::OptimizerSpec spec = levin::AdamW{.lr = 0.01, .weight_decay = 0.1};
  spec.rules = {{.pattern = "*.bias", .weight_decay = 0}};
  strategy->setup(*model, {spec});
  Result result;
  const int64_t parts = communicator.size() * micro_batches;
  for (int step = 0; step < steps; step++) {
    const Tensor x = at::sin(at::arange(samples * model->width, at::kDouble) * (step + 1)).view({samples, model->width});
    const Tensor total = at::zeros({1}, at::kDouble);
    for (int64_t micro = 0; micro < micro_batches; micro++) {
      const int64_t part = micro * communicator.size() + communicator.rank();
      const int64_t begin = samples * part / parts, end = samples * (part + 1) / parts;
      at::manual_seed(static_cast<uint64_t>(step));
      const Tensor loss = model->loss(x.narrow(0, begin, end - begin));
      total.add_(loss.detach() * (end - begin) / samples);
      if (micro + 1 == micro_batches) strategy->expect_step();
      strategy->backward(loss, static_cast<double>(end - begin));
    }
    communicator.all_reduce(total).wait();
    result.losses.push_back(total.item<double>());
    strategy->reduce(strategy->synchronize_step(0));
    strategy->clip_by_norm(strategy->grad_norm(), 0.5);
    strategy->update([](double lr) { return lr; });
    strategy->zero_grad();
  }
  strategy->write_parameters([&](const std::string& name, Tensor& tensor) { result.parameters[name] = tensor.detach().clone(); });
  communicator.barrier();
  return result;
}

std::unique_ptr<levin::Communicator> world() { return levin::Communicator::create_cpu(levin::test::runtime()); }

Result alone(uint32_t seed, bool evaluate) {
  const levin::MpiRuntime runtime(MPI_COMM_SELF);
  const auto communicator = levin::Communicator::create_cpu(runtime);
  return train(levin::SingleDevice{}, *communicator, seed, evaluate);
}

void check_equal(const Result& a, const Result& b, const std::string& where) {
  for (int step = 0; step < steps; step++)
    BOOST_CHECK_MESSAGE(std::abs(a.losses[step] - b.losses[step]) < 1e-11,
                        where << ": the loss of step " << step << " is " << a.losses[step] << ", not " << b.losses[step]);
  for (const auto& [name, tensor] : b.parameters) {
    if (!a.parameters.count(name)) continue;  // another rank's to write
    const double difference = (a.parameters.at(name) - tensor).abs().max().item<double>();
    BOOST_CHECK_MESSAGE(difference < 1e-10, where << ": " << name << " differs by " << difference);
  }
}

std::vector<std::pair<std::string, StrategyConfig>> strategies(int ranks) {
  const ShardingOptions own{.share_parameters = ShareParameters::none};
  auto kept = own, late = own, large = own, halves = own;
  kept.reshard_after_forward = false;
  late.reduce_every_backward = false;
  large.min_num_params = 200;
  halves.shard_group_size = ranks % 2 == 0 ? ranks / 2 : 1;
  const ShardingOptions shared_late{.min_num_params = 200, .reshard_after_forward = false, .reduce_every_backward = false};
  using enum levin::ShardingStrategy;
  return {{"ddp", levin::DDP{ShareParameters::none}},
          {"zero1", levin::Zero1{own}},
          {"zero2", levin::Zero2{own}},
          {"zero2, late", levin::Zero2{late}},
          {"fsdp", levin::FSDP{full_shard, own}},
          {"fsdp, kept", levin::FSDP{full_shard, kept}},
          {"fsdp, late", levin::FSDP{full_shard, late}},
          {"fsdp, large units", levin::FSDP{full_shard, large}},
          {"fsdp, offload", levin::FSDPOffload{full_shard, own}},
          {"hsdp", levin::HSDP{halves}},
          {"fsdp, shared", levin::FSDP{}},
          {"fsdp, shared, late", levin::FSDP{full_shard, shared_late}},
          {"zero1, shared", levin::Zero1{}}};
}

}  // namespace

BOOST_AUTO_TEST_CASE(random_models_equal_one_rank) {
  const auto communicator = world();
  const uint32_t models = communicator->size() > 2 ? 6 : 12;  // seconds
  for (uint32_t seed = 1; seed <= models; seed++) {
    const Result expected = alone(seed, /*evaluate=*/true);
    for (const auto& [name, config] : strategies(communicator->size()))
      check_equal(train(config, *communicator, seed, true), expected, name + " of model " + std::to_string(seed));
  }
}

// Parts of a host, such as its NUMA domains, are to each other what hosts are.
BOOST_AUTO_TEST_CASE(a_copy_in_each_part_of_a_host) {
  const auto whole = world();
  const auto parts = levin::Communicator::create_in_parts(levin::test::runtime(), *whole, whole->rank() % 2);
  if (!parts) return;  // every rank is alone on its host
  const ShardingOptions shared{.share_parameters = ShareParameters::numa};
  BOOST_TEST(Strategy::create(levin::DDP{ShareParameters::numa}, *parts)->describe() == "ddp, one copy of the parameters a NUMA domain");
  const StrategyConfig fsdp = levin::FSDP{levin::ShardingStrategy::full_shard, shared};
  BOOST_TEST(Strategy::create(fsdp, *parts)->describe() ==
             "fsdp, one copy of the parameters in parts on all ranks, gathered once a NUMA domain");
  for (uint32_t seed = 1; seed <= 4; seed++) {
    const Result expected = alone(seed, /*evaluate=*/true);
    for (const StrategyConfig& config : {StrategyConfig(levin::DDP{ShareParameters::numa}), StrategyConfig(levin::HSDP{shared}), fsdp})
      check_equal(train(config, *parts, seed, true), expected, "parts, model " + std::to_string(seed));
  }
}

// With dropout on, a checkpointed unit repeats the same masks.
BOOST_AUTO_TEST_CASE(random_numbers_are_repeated) {
  const levin::MpiRuntime runtime(MPI_COMM_SELF);
  const auto communicator = levin::Communicator::create_cpu(runtime);
  for (uint32_t seed = 1; seed <= 12; seed++) {
    const auto losses = [&](bool checkpointed) {
      at::manual_seed(seed);
      RandomModel model(seed);
      for (auto& block : model.blocks)
        block->checkpoint_activations(checkpointed ? levin::ActivationCheckpointing::units : levin::ActivationCheckpointing::none);
      at::manual_seed(5);
      model.loss(at::ones({6, model.width}, at::kDouble)).backward();
      std::vector<Tensor> gradients;
      for (const auto& parameter : model.parameters()) gradients.push_back(parameter.grad());
      gradients.push_back(at::rand({3}));  // the generator stands where it would
      return gradients;
    };
    const auto plain = losses(false), repeated = losses(true);
    for (size_t i = 0; i < plain.size(); i++) {
      BOOST_REQUIRE(plain[i].defined() == repeated[i].defined());
      if (plain[i].defined()) BOOST_TEST(at::allclose(plain[i], repeated[i], 0, 1e-14));
    }
  }
}

// A unit of `width`² + `width` parameters, and a model of several.
struct SquareImpl : levin::Unit<Tensor(Tensor)> {
  explicit SquareImpl(int64_t width) { linear = register_module("linear", torch::nn::Linear(width, width)); }
  Tensor compute(Tensor x) override { return linear(x).relu(); }
  torch::nn::Linear linear{nullptr};
};
LEVIN_UNIT(Square);

struct Tower : torch::nn::Module {
  Tower(int64_t width, int64_t count) {
    for (int64_t i = 0; i < count; i++) squares.push_back(register_module("square" + std::to_string(i), Square(width)));
  }
  Tensor forward(Tensor x) {
    for (auto& square : squares) x = square(x);
    return x;
  }
  std::vector<Square> squares;
};

const levin::FSDP private_fsdp{.sharding = {.share_parameters = ShareParameters::none}};

BOOST_AUTO_TEST_CASE(ranks_that_use_other_units_are_named) {
  const auto communicator = world();
  if (communicator->size() == 1) return;
  auto strategy = Strategy::create(private_fsdp, *communicator);
  const auto context = strategy->open_build_context();
  const auto model = std::make_shared<Tower>(64, 3);
  strategy->setup(*model, {levin::SGD{}});
  const Tensor x = at::ones({2, 64});
  check_throws<levin::CommunicatorError>([&] { model->squares[communicator->rank() == 0 ? 0 : 1](x); },
                                         {"rank 0 is in all_gather", "for unit \"square0\"", "for unit \"square1\""});
}

// The same on all ranks, in float64.
std::shared_ptr<Tower> wide_tower(Strategy& strategy) {
  std::shared_ptr<Tower> model;
  {
    const auto context = strategy.open_build_context(at::kDouble);
    at::manual_seed(3);
    model = std::make_shared<Tower>(4, 2);
  }
  for (const auto& parameter : model->parameters())
    if (!strategy.deferred(parameter)) parameter.set_data(parameter.to(at::kDouble));
  return model;
}

// A loss with a gradient in it, of which the backward takes another.
Tensor with_penalty(Tower& model, const Tensor& x) {
  const Tensor input = x.detach().requires_grad_();
  const Tensor output = model.forward(input);
  const auto slope = torch::autograd::grad({output.pow(2).sum()}, {input}, {}, /*retain_graph=*/true, /*create_graph=*/true)[0];
  return output.mean() + (slope.norm(2, 1) - 1).square().mean();
}

BOOST_AUTO_TEST_CASE(a_gradient_of_a_gradient_is_right_or_refused) {
  const auto communicator = world();
  const Tensor x = at::sin(at::arange(12, at::kDouble)).view({3, 4});
  const auto train = [&](const StrategyConfig& config, levin::ActivationCheckpointing kind) {
    auto strategy = Strategy::create(config, *communicator);
    const auto model = wide_tower(*strategy);
    strategy->setup(*model, {levin::SGD{.lr = 0.1}});
    strategy->checkpoint_activations(kind);
    for (int step = 0; step < 2; step++) {
      strategy->backward(with_penalty(*model, x), 1);
      strategy->reduce(strategy->synchronize_step(0));
      strategy->update([](double lr) { return lr; });
      strategy->zero_grad();
    }
    std::vector<Tensor> found;
    strategy->read_parameters([&](const std::string&, const Tensor& value) { found.push_back(value.clone()); });
    return found;
  };
  using enum levin::ActivationCheckpointing;
  const auto expected = train(levin::DDP{ShareParameters::none}, none);
  const ShardingOptions apart{.share_parameters = ShareParameters::none};
  for (const auto& config : {StrategyConfig(levin::AutoStrategy{}), StrategyConfig(levin::Zero1{.sharding = apart}),
                             StrategyConfig(levin::Zero2{.sharding = apart})}) {
    const auto found = train(config, none);
    for (size_t i = 0; i < expected.size(); i++) BOOST_TEST(at::allclose(found[i], expected[i], 0, 1e-9));
  }
  for (const auto kind : {units, offload})
    check_throws<levin::UsageError>([&] { train(levin::AutoStrategy{}, kind); }, {"activation checkpointing", "gradient of a gradient"});
  if (communicator->size() > 1)
    check_throws<levin::UsageError>([&] { train(private_fsdp, none); }, {"gradient of a gradient", "unit \"square1\"", "sharded"});
  communicator->barrier();
}

// Every rank reads whole parameters, and the slices of all ranks cover each once, or on each rank where it has a private copy.
BOOST_AUTO_TEST_CASE(parameters_are_read_under_every_strategy) {
  const auto communicator = world();
  const ShardingOptions apart{.share_parameters = ShareParameters::none};
  for (const auto& config :
       {StrategyConfig(levin::AutoStrategy{}), StrategyConfig(levin::DDP{ShareParameters::none}), StrategyConfig(levin::Zero1{}),
        StrategyConfig(levin::Zero2{.sharding = apart}), StrategyConfig(levin::FSDP{}), StrategyConfig(private_fsdp)}) {
    auto strategy = Strategy::create(config, *communicator);
    std::shared_ptr<Tower> model;
    {
      const auto context = strategy->open_build_context();
      model = std::make_shared<Tower>(16, 3);
    }
    strategy->setup(*model, {levin::SGD{.lr = 0.1}});
    strategy->write_parameters([](const std::string& name, Tensor& value) {
      value.copy_(at::arange(value.numel()).view_as(value) + static_cast<int64_t>(name.size()));
    });
    std::map<std::string, Tensor> whole;
    for (int time = 0; time < 2; time++) {
      strategy->read_parameters([&](const std::string& name, const Tensor& value) { whole[name] = value.clone(); });
      BOOST_TEST(whole.size() == 6u);
      for (const auto& [name, value] : whole)
        BOOST_TEST(at::equal(value, (at::arange(value.numel()).view_as(value) + static_cast<int64_t>(name.size())).to(at::kFloat)));
      BOOST_TEST(whole.at("square0.linear.weight").dim() == 2);
    }
    int64_t elements = 0;
    for (const auto& [name, slice, offset] : strategy->parameter_slices()) {
      elements += slice.numel();
      BOOST_TEST(at::equal(slice, whole.at(name).flatten().narrow(0, offset, slice.numel())));
    }
    const Tensor all = at::full({1}, elements, at::kLong);
    communicator->all_reduce(all).wait();
    const bool in_parts = strategy->plan().shards_updates();
    BOOST_TEST(all.item<int64_t>() == 3 * (16 * 16 + 16) * (in_parts ? 1 : communicator->size()));
    // A step still works after it, and what one rank's function throws is an error on all ranks.
    strategy->backward(model->forward(at::ones({2, 16})).mean(), 1);
    strategy->reduce(strategy->synchronize_step(0));
    strategy->update([](double lr) { return lr; });
    strategy->zero_grad();
    const int guilty = communicator->size() - 1;
    const auto read = [&] {
      strategy->read_parameters([&](auto&&...) {
        if (communicator->rank() == guilty) throw std::runtime_error("full");
      });
    };
    if (communicator->size() == 1)
      check_throws<std::runtime_error>(read, {"full"});
    else
      check_throws<levin::UsageError>(read, {fmt::format("rank {} (", guilty), "full"});
    communicator->barrier();
  }
}

// The last backward of one optimizer's step leaves gradients in the other, too.
BOOST_AUTO_TEST_CASE(two_optimizers_step_after_different_backwards) {
  const auto communicator = world();
  const Tensor x = at::sin(at::arange(12, at::kDouble)).view({3, 4});
  const auto train = [&](const StrategyConfig& config, levin::Communicator& ranks, const std::vector<size_t>& expected) {
    auto strategy = Strategy::create(config, ranks);
    const auto model = wide_tower(*strategy);
    levin::OptimizerSpec first = levin::SGD{.lr = 0.1}, second = levin::SGD{.lr = 0.1};
    first.parameters = {"square0.*"}, second.parameters = {"square1.*"};
    strategy->setup(*model, {first, second});
    const auto step = [&](size_t optimizer) {
      strategy->reduce(strategy->synchronize_step(0, optimizer), optimizer);
      strategy->update([](double lr) { return lr; }, optimizer);
      strategy->zero_grad(optimizer);
    };
    for (int i = 0; i < 2; i++) {
      strategy->backward(model->forward(x).square().mean(), 1);
      for (const size_t optimizer : expected) strategy->expect_step(optimizer);
      strategy->backward(model->forward(x + 1).square().mean(), 2);
      step(0);
      step(1);
    }
    std::vector<Tensor> found;
    strategy->read_parameters([&](const std::string&, const Tensor& value) { found.push_back(value.clone()); });
    ranks.barrier();
    return found;
  };
  const levin::MpiRuntime self(MPI_COMM_SELF);
  const auto one_rank = levin::Communicator::create_cpu(self);
  const auto expected = train(levin::SingleDevice{}, *one_rank, {});
  for (const auto& [name, config] : strategies(communicator->size()))
    for (const auto& expects : {std::vector<size_t>{0}, std::vector<size_t>{1}, std::vector<size_t>{0, 1}}) {
      const auto found = train(config, *communicator, expects);
      for (size_t i = 0; i < expected.size(); i++) BOOST_TEST(at::allclose(found[i], expected[i], 0, 1e-11), name);
    }
}

// Shard groups synchronize with all ranks at times; a rank that waits there for one still inside a unit gets an error.
BOOST_AUTO_TEST_CASE(a_rank_that_leaves_its_group_in_a_unit_is_named) {
  const auto communicator = world();
  if (communicator->size() != 4) return;
  auto strategy = Strategy::create(levin::HSDP{{.share_parameters = ShareParameters::none, .shard_group_size = 2}}, *communicator);
  const auto context = strategy->open_build_context();
  const auto model = std::make_shared<Tower>(64, 3);
  strategy->setup(*model, {levin::SGD{}});
  const Tensor x = at::ones({2, 64});
  const auto step = [&] {
    if (communicator->rank() % 2 == 0) model->squares[1](x);
    strategy->combine_signals(0);  // as in a validation, where no gradient is summed in between
  };
  check_throws<levin::CommunicatorError>(step, {"barrier", "for unit \"square1\""});
}

// The parts of a unit are cut as soon as it is built, and what is gathered is given back.
BOOST_AUTO_TEST_CASE(memory_is_that_of_parts) {
  const auto communicator = world();
  const int64_t width = 64, count = 6, ranks = communicator->size(), unit = width * width + width, all = count * unit;
  if (ranks == 1) return;
  const auto peak = [&](const StrategyConfig& config) {
    auto strategy = Strategy::create(config, *communicator);
    std::shared_ptr<Tower> model;
    {
      const auto context = strategy->open_build_context();
      model = std::make_shared<Tower>(width, count);
      if (strategy->plan().by_unit()) BOOST_TEST(model->squares[0]->linear->weight.storage().nbytes() == 0u);
    }
    strategy->setup(*model, {levin::AdamW{}});
    for (int step = 0; step < 3; step++) {
      strategy->backward(model->forward(at::ones({2, width})).mean(), 2);
      strategy->reduce(strategy->synchronize_step(0));
      strategy->update([](double lr) { return lr; });
      strategy->zero_grad();
    }
    communicator->barrier();
    return strategy->memory().peak() / 4.0;  // elements
  };
  const ShardingOptions own{.share_parameters = ShareParameters::none};
  const double part = static_cast<double>(all) / ranks;
  BOOST_TEST(peak(levin::DDP{ShareParameters::none}) == (4.0 * all), boost::test_tools::tolerance(0.05));
  BOOST_TEST(peak(levin::Zero1{own}) == (2.0 * all + 3 * part), boost::test_tools::tolerance(0.05));
  // One bucket's gradients are whole at a time; here that is all.
  BOOST_TEST(peak(levin::Zero2{own}) == (2.0 * all + 3 * part), boost::test_tools::tolerance(0.05));
  const bool several_hosts = communicator->node()->size() < ranks;
  // Gathered parameters and gradients of a unit; between hosts one more of each is on its way.
  BOOST_TEST(peak(private_fsdp) == (4 * part + (several_hosts ? 4 : 2) * unit), boost::test_tools::tolerance(0.1));
  if (!several_hosts) return;
  const bool first = communicator->node()->rank() == 0;  // what its node has gathered is counted there
  BOOST_TEST(peak(levin::FSDP{}) == (4 * part + (first ? 4 : 2) * unit), boost::test_tools::tolerance(0.1));
}

int64_t free_bytes = 0;

// On one host no strategy is content with less than ddp, whose ranks share one copy; on several, parts of one copy are less.
BOOST_AUTO_TEST_CASE(auto_takes_the_first_that_fits) {
  const auto communicator = world();
  if (communicator->size() == 1) return;
  const bool several_hosts = communicator->node()->size() < communicator->size();
  const auto loss_after_a_step = [&](Strategy& strategy) {
    const auto context = strategy.open_build_context();
    at::manual_seed(1);
    const auto model = std::make_shared<Tower>(64, 6);
    strategy.setup(*model, {levin::AdamW{.lr = 0.01}});
    strategy.backward(model->forward(at::ones({2, 64})).mean(), 2);
    strategy.reduce(strategy.synchronize_step(0));
    strategy.update([](double lr) { return lr; });
    strategy.zero_grad();
    return model->forward(at::ones({2, 64})).mean().item<double>();
  };
  std::set<std::string> taken;
  const auto expected = loss_after_a_step(*Strategy::create(levin::DDP{}, *communicator));
  for (free_bytes = int64_t{1} << 30;; free_bytes = free_bytes * 7 / 8) {
    BOOST_REQUIRE(free_bytes > 1000);
    const auto strategy =
        Strategy::create(levin::AutoStrategy{}, *communicator, 64, {}, levin::check_planned_memory([] { return free_bytes; }));
    try {
      BOOST_TEST(loss_after_a_step(*strategy) == expected, boost::test_tools::tolerance(1e-4));
    } catch (const levin::ConfigError& error) {
      BOOST_TEST(std::string(error.what()).find("are free") != std::string::npos);
      const auto fullest = levin::all_max(*communicator, int64_t{communicator->node()->size()});
      BOOST_TEST(std::string(error.what()).find(fmt::format("for {} ranks'", fullest)) != std::string::npos, error.what());
      break;
    }
    taken.insert(strategy->plan().name);
  }
  BOOST_TEST(taken.count("ddp") == 1u);
  BOOST_TEST(taken.count("fsdp") == (several_hosts ? 1u : 0u));
}

BOOST_AUTO_TEST_CASE(options_change_what_is_held) {
  const auto communicator = world();
  if (communicator->size() == 1) return;
  const bool several_hosts = communicator->node()->size() < communicator->size();
  struct Seen {
    size_t groups = 0;
    bool kept = false, waiting = false;
    int64_t gathered_ahead = 0;
  };
  const auto observe = [&](void (*change)(ShardingOptions&)) {
    auto config = private_fsdp;
    change(config.sharding);
    auto strategy = Strategy::create(config, *communicator);
    const auto context = strategy->open_build_context();
    const auto model = std::make_shared<Tower>(16, 4);
    strategy->setup(*model, {levin::SGD{}});
    Seen seen{.groups = strategy->groups().size()};
    const auto gathered = [&] {
      const auto groups = strategy->groups();
      return std::count_if(groups.begin(), groups.end(), [](const auto& group) { return group.unsharded; });
    };
    for (int step = 0; step < 2; step++) {
      const Tensor loss = model->forward(at::ones({2, 16})).mean();
      seen.kept = strategy->groups()[0].unsharded;
      strategy->backward(loss, 2);
      seen.waiting = model->squares[0]->linear->weight.grad().defined();
      strategy->reduce(strategy->synchronize_step(0));
      strategy->update([](double lr) { return lr; });
      strategy->zero_grad();
    }
    const at::NoGradGuard no_graph;
    model->squares[0](at::ones({2, 16}));  // which is released after it, and not what comes after it
    seen.gathered_ahead = gathered();
    communicator->barrier();
    return seen;
  };
  const Seen by_default = observe([](ShardingOptions&) {});
  BOOST_TEST(by_default.groups == 4u);
  BOOST_TEST(!by_default.kept);
  BOOST_TEST(!by_default.waiting);
  BOOST_TEST(by_default.gathered_ahead == (several_hosts ? 1 : 0));
  BOOST_TEST(observe([](ShardingOptions& options) { options.min_num_params = 1000; }).groups == 1u);
  BOOST_TEST(observe([](ShardingOptions& options) { options.reshard_after_forward = false; }).kept);
  BOOST_TEST(observe([](ShardingOptions& options) { options.reduce_every_backward = false; }).waiting);
  BOOST_TEST(observe([](ShardingOptions& options) { options.prefetch = 0; }).gathered_ahead == 0);
  BOOST_TEST(observe([](ShardingOptions& options) { options.prefetch = 3; }).gathered_ahead == (several_hosts ? 2 : 0));
  BOOST_TEST(observe([](ShardingOptions& options) { options.prefetch = 3, options.limit_all_gathers = 1; }).gathered_ahead ==
             (several_hosts ? 1 : 0));
}

// What fp16 cannot hold becomes infinite on its way.
BOOST_AUTO_TEST_CASE(gradients_are_summed_in_another_dtype) {
  const auto communicator = world();
  if (communicator->size() == 1) return;
  for (const bool narrow : {false, true}) {
    auto config = private_fsdp;
    if (narrow) config.sharding.reduce_dtype = levin::TransferDtype::float16;
    auto strategy = Strategy::create(config, *communicator);
    const auto context = strategy->open_build_context();
    const auto model = std::make_shared<Tower>(16, 2);
    strategy->setup(*model, {levin::SGD{}});
    strategy->backward(model->forward(at::full({2, 16}, 1e4)).sum(), 1e4);
    strategy->reduce(strategy->synchronize_step(0));
    BOOST_TEST(std::isfinite(strategy->grad_norm().item<double>()) == !narrow);
    strategy->zero_grad();
    communicator->barrier();
  }
}

// A sum in bf16 stands still after 256 equal micro-batches.
BOOST_AUTO_TEST_CASE(gradients_of_micro_batches_are_summed_in_the_dtype_of_shards) {
  const auto communicator = world();
  if (communicator->size() == 1) return;
  const auto norm_of = [&](std::optional<levin::TransferDtype> param_dtype, bool every_backward) {
    auto config = private_fsdp;
    config.sharding.param_dtype = param_dtype;
    config.sharding.reduce_every_backward = every_backward;
    auto strategy = Strategy::create(config, *communicator, 64, {}, {}, at::kBFloat16);
    const auto context = strategy->open_build_context();
    at::manual_seed(3);
    const auto model = std::make_shared<Tower>(8, 1);
    strategy->setup(*model, {levin::SGD{}});
    BOOST_TEST(model->squares[0]->linear->weight.scalar_type() == at::kBFloat16);
    const Tensor x = at::full({2, 8}, 0.3, param_dtype ? at::kBFloat16 : at::kFloat);
    constexpr int count = 300;
    for (int micro = 1; micro <= count; micro++) {
      Tensor loss;
      {
        const levin::Autocast autocast(at::kCPU, at::kBFloat16);
        loss = model->forward(x).to(at::kFloat).mean();
      }
      if (micro == count) strategy->expect_step();
      strategy->backward(loss, 2);
    }
    strategy->reduce(strategy->synchronize_step(0));
    const double norm = strategy->grad_norm().item<double>();
    strategy->zero_grad();
    communicator->barrier();
    return norm;
  };
  for (const auto param_dtype : {std::optional<levin::TransferDtype>(), std::optional(levin::TransferDtype::bfloat16)}) {
    const double expected = norm_of(param_dtype, true);
    BOOST_TEST(expected > 0);
    BOOST_TEST(norm_of(param_dtype, false) == expected, boost::test_tools::tolerance(0.01));
  }
}

BOOST_AUTO_TEST_CASE(bad_options_are_refused) {
  const auto communicator = world();
  const int ranks = communicator->size();
  levin::HSDP indivisible;
  indivisible.sharding.shard_group_size = ranks + 1;
  indivisible.sharding.share_parameters = ShareParameters::none;
  if (ranks > 1)
    check_throws<levin::ConfigError>([&] { Strategy::create(indivisible, *communicator); }, {"shard_group_size", "does not divide"});
  const levin::OptimizerSpec custom =
      levin::custom([](std::vector<Tensor> parameters) { return std::make_unique<torch::optim::SGD>(parameters, 0.1); });
  for (const StrategyConfig& config : {StrategyConfig(levin::Zero1{}), StrategyConfig(levin::FSDP{})}) {
    auto strategy = Strategy::create(config, *communicator);
    torch::nn::Linear model(3, 4);
    if (ranks > 1) check_throws<levin::ConfigError>([&] { strategy->setup(*model, {custom}); }, {"custom optimizer", "strategy ddp"});
  }
  communicator->barrier();
}

// What a strategy was given once may be set up again, with other optimizers.
BOOST_AUTO_TEST_CASE(a_model_can_be_set_up_again) {
  const auto communicator = world();
  auto strategy = Strategy::create(private_fsdp, *communicator);
  const auto context = strategy->open_build_context();
  at::manual_seed(3);
  const auto model = std::make_shared<Tower>(16, 2);
  std::vector<Tensor> values[2];
  for (auto& found : values) {
    strategy->setup(*model, {levin::SGD{}});
    strategy->write_parameters([&](const std::string&, Tensor& tensor) { found.push_back(tensor.detach().clone()); });
  }
  for (size_t i = 0; i < values[0].size(); i++) BOOST_TEST(at::equal(values[0][i], values[1][i]));
  BOOST_TEST(values[0][0].abs().sum().item<double>() > 0);
  communicator->barrier();
}

// fp32 parts, computed with and summed in bf16.
BOOST_AUTO_TEST_CASE(units_are_gathered_in_another_dtype) {
  const auto communicator = world();
  if (communicator->size() == 1) return;
  auto config = private_fsdp;
  config.sharding.param_dtype = levin::TransferDtype::bfloat16;
  config.sharding.reduce_dtype = levin::TransferDtype::float32;
  auto strategy = Strategy::create(config, *communicator);
  const auto context = strategy->open_build_context();
  at::manual_seed(3);
  const auto model = std::make_shared<Tower>(16, 2);
  strategy->setup(*model, {levin::SGD{.lr = 0.1}});
  BOOST_TEST(model->squares[0]->linear->weight.scalar_type() == at::kBFloat16);
  const Tensor x = at::ones({4, 16}, at::kBFloat16);
  const auto loss = [&] { return model->forward(x).to(at::kFloat).pow(2).mean(); };
  const double before = loss().item<double>();
  for (int step = 0; step < 20; step++) {
    strategy->backward(loss(), 4);
    strategy->reduce(strategy->synchronize_step(0));
    strategy->update([](double lr) { return lr; });
    strategy->zero_grad();
  }
  BOOST_TEST(loss().item<double>() < 0.9 * before);
  for (const auto& state : strategy->state(levin::StateUse::save)) BOOST_TEST(state.dtype == at::kFloat);
  communicator->barrier();
}

// Autocast rounds matrices where they are used, a unit where they are unsharded: with the same bits.
BOOST_AUTO_TEST_CASE(a_mixed_precision_unshards_matrices_in_its_dtype) {
  const auto communicator = world();
  const auto train_in = [&](std::optional<levin::TransferDtype> param_dtype, at::ScalarType weights, bool checkpointed) {
    auto config = private_fsdp;
    config.sharding.param_dtype = param_dtype;
    auto strategy = Strategy::create(config, *communicator, 64, {}, {}, at::kBFloat16);
    const auto context = strategy->open_build_context();
    at::manual_seed(3);
    const auto model = std::make_shared<Tower>(16, 3);
    strategy->setup(*model, {levin::AdamW{.lr = 0.01}});
    if (checkpointed) strategy->checkpoint_activations(levin::ActivationCheckpointing::units);
    if (communicator->size() == 1) weights = at::kFloat;
    BOOST_TEST(model->squares[0]->linear->weight.scalar_type() == weights);
    BOOST_TEST(model->squares[0]->linear->bias.scalar_type() == at::kFloat);
    for (int step = 0; step < 5; step++) {
      for (int micro = 0; micro < 2; micro++) {
        Tensor loss;
        {
          const levin::Autocast autocast(at::kCPU, at::kBFloat16);
          loss = model->forward(at::full({4, 16}, 0.3 * (micro + 1) + communicator->rank())).to(at::kFloat).pow(2).mean();
        }
        if (micro == 1) strategy->expect_step();
        strategy->backward(loss, 4);
      }
      strategy->reduce(strategy->synchronize_step(0));
      strategy->clip_by_norm(strategy->grad_norm(), 0.5);
      strategy->update([](double lr) { return lr; });
      strategy->zero_grad();
    }
    const auto state_of = [&] {
      std::vector<Tensor> values;
      for (const auto& state : strategy->state(levin::StateUse::save)) {
        BOOST_TEST(state.dtype == at::kFloat);
        const Tensor whole = at::zeros(state.shape);
        for (const auto& [slab, part] : state.parts) {
          BOOST_REQUIRE(slab.flattened);
          whole.view(-1).narrow(0, slab.offset[0], slab.extent[0]).copy_(part);
        }
        communicator->all_reduce(whole).wait();
        values.push_back(whole);
      }
      return values;
    };
    auto values = state_of();
    strategy->write_parameters([](const std::string&, Tensor&) {});  // what is not written keeps its bits
    const auto same = state_of();
    for (size_t i = 0; i < values.size(); i++) BOOST_TEST(at::equal(values[i], same[i]));
    strategy->write_parameters([](const std::string&, Tensor& tensor) { tensor.fill_(0.5); });
    strategy->read_parameters([&](const std::string&, const Tensor& tensor) { BOOST_TEST(tensor.eq(0.5).all().item<bool>()); });
    communicator->barrier();
    return values;
  };
  for (const bool checkpointed : {false, true}) {
    const auto whole = train_in(levin::TransferDtype::float32, at::kFloat, checkpointed),
               halves = train_in({}, at::kBFloat16, checkpointed);
    BOOST_REQUIRE(whole.size() == halves.size());
    for (size_t i = 0; i < whole.size(); i++) BOOST_TEST(at::equal(whole[i], halves[i]));
  }
}

BOOST_AUTO_TEST_SUITE_END()
