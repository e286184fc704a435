#include "levin/parallel/strategy.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/sgd.h>

#include <algorithm>

#include "captured_stderr.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/nn/unit.h"
#include "levin_test.h"
#include "mpi_calls.h"

using levin::DDP;
using levin::ShareParameters;
using levin::Strategy;
using levin::Tensor;

BOOST_AUTO_TEST_SUITE(parallel_strategy)

namespace {

struct BlockImpl : levin::Unit<Tensor(Tensor)> {
  explicit BlockImpl(int64_t width) { linear = register_module("linear", torch::nn::Linear(torch::nn::LinearOptions(width, width))); }
  Tensor compute(Tensor x) override { return at::tanh(linear(x)); }
  torch::nn::Linear linear{nullptr};
};
LEVIN_UNIT(Block);

struct Net : torch::nn::Module {
  Net() {
    first = register_module("first", torch::nn::Linear(5, 7));
    block = register_module("block", Block(7));
    last = register_module("last", torch::nn::Linear(7, 1));
    frozen = register_parameter("frozen", at::ones({3}), false);
    unused = register_parameter("unused", at::ones({4}));
    norm = register_module("norm", torch::nn::BatchNorm1d(7));
    to(at::kDouble);
  }
  Tensor loss(const Tensor& x) { return last(block(first(x))).pow(2).mean() + frozen.sum() * 0; }
  torch::nn::Linear first{nullptr}, last{nullptr};
  Block block{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
  Tensor frozen, unused;
};

constexpr int64_t samples = 13;

Tensor all_data(int step) { return at::sin(at::arange(samples * 5, at::kDouble) * (step + 1)).view({samples, 5}); }

levin::OptimizerSpec adamw() {
  levin::OptimizerSpec spec = levin::AdamW{.lr = 0.05, .weight_decay = 0.1};
  spec.rules = {{.pattern = "*.bias", .weight_decay = 0}};
  return spec;
}

// Trains with one optimizer step on 13 samples, cut unevenly over the ranks, in one or two micro-batches.
std::vector<Tensor> train(const levin::StrategyConfig& config, levin::Communicator& communicator, int micro_batches, double clip,
                          const levin::OptimizerSpec& spec = adamw()) {
  auto strategy = Strategy::create(config, communicator);
  std::shared_ptr<Net> net;
  {
    const auto context = strategy->open_build_context();
    at::manual_seed(7);
    net = std::make_shared<Net>();
  }
  BOOST_TEST(strategy->units().size() == 1u);
  strategy->setup(*net, {spec});
  for (int step = 0; step < 5; step++) {
    const int parts = communicator.size() * micro_batches;
    for (int micro = 0; micro < micro_batches; micro++) {
      const int part = micro * communicator.size() + communicator.rank();
      const int64_t begin = samples * part / parts, end = samples * (part + 1) / parts;
      const auto x = end > begin ? all_data(step).narrow(0, begin, end - begin) : all_data(step).narrow(0, 0, 1);
      strategy->backward(net->loss(x), static_cast<double>(end - begin));
    }
    const auto totals = strategy->synchronize_step(communicator.rank() == 0 ? 1u : 2u);
    BOOST_TEST(totals.weight == samples);
    BOOST_TEST(totals.signals == (communicator.size() == 1 ? 1u : 3u));
    strategy->reduce(totals);
    if (clip > 0) strategy->clip_by_norm(strategy->grad_norm(), clip);
    strategy->update([](double lr) { return lr; });
    strategy->zero_grad();
  }
  std::vector<Tensor> result;
  for (const auto& [name, tensor] : strategy->parameters()) result.push_back(tensor.detach().clone());
  communicator.barrier();
  return result;
}

// The same on one process, by the plain formula.
std::vector<Tensor> expected(double clip, const levin::OptimizerSpec& spec = adamw()) {
  const levin::MpiRuntime alone(MPI_COMM_SELF);
  const auto communicator = levin::Communicator::create_cpu(alone);
  return train(levin::SingleDevice{}, *communicator, 1, clip, spec);
}

std::unique_ptr<levin::Communicator> world() { return levin::Communicator::create_cpu(levin::test::runtime()); }

void check_equal(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  BOOST_REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); i++) BOOST_TEST(at::allclose(a[i], b[i], 1e-12, 1e-13));
}

}  // namespace

BOOST_AUTO_TEST_CASE(uneven_ranks_follow_one_rank_in_both_forms) {
  const auto communicator = world();
  for (double clip : {0.0, 0.01})
    for (auto share : {ShareParameters::automatic, ShareParameters::none})
      for (int micro_batches : {1, 2}) check_equal(train(DDP{share}, *communicator, micro_batches, clip), expected(clip));
}

// Three ranks of a host do not divide 64 elements.
BOOST_AUTO_TEST_CASE(the_ranks_of_a_host_load_every_element) {
  struct Even : torch::nn::Module {
    Even() { weight = register_parameter("weight", at::ones({64})); }
    Tensor weight;
  };
  const auto communicator = world();
  auto strategy = Strategy::create(DDP{}, *communicator);
  std::shared_ptr<Even> net;
  {
    const auto context = strategy->open_build_context();
    net = std::make_shared<Even>();
  }
  strategy->setup(*net, {levin::AdamW{}});
  std::vector<int64_t> loads(64);
  for (const auto& tensor : strategy->state(levin::StateUse::load, /*weights_only=*/true))
    for (const auto& part : tensor.parts)
      for (int64_t i = 0; i < part.slab.extent.front(); i++) loads[static_cast<size_t>(part.slab.offset.front() + i)]++;
  loads = levin::all_sum(*communicator, loads);  // each host loads each element once
  BOOST_TEST(loads.front() > 0);
  BOOST_TEST(loads == std::vector<int64_t>(64, loads.front()), boost::test_tools::per_element());
  communicator->barrier();
}

// A shard cuts parameters anywhere, and the trust ratio is the whole parameter's.
BOOST_AUTO_TEST_CASE(layer_wise_rates_do_not_depend_on_the_ranks) {
  const auto communicator = world();
  levin::OptimizerSpec spec = levin::LAMB{.lr = 0.05, .weight_decay = 0.1};
  spec.rules = {{.pattern = "*.bias", .weight_decay = 0}};
  for (auto share : {ShareParameters::automatic, ShareParameters::none})
    check_equal(train(DDP{share}, *communicator, 1, 0, spec), expected(0, spec));

  // One parameter's update: as long as lr times itself.
  spec.rules.clear();
  auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
  Net net;
  strategy->setup(net, {spec});
  const Tensor before = net.first->weight.detach().clone();
  strategy->backward(net.loss(all_data(0)), samples);
  strategy->reduce(strategy->synchronize_step(0));
  communicator->barrier();
  strategy->update([](double lr) { return lr; });
  const double moved = (net.first->weight.detach() - before).norm().item<double>();
  BOOST_TEST(moved == 0.05 * before.norm().item<double>(), boost::test_tools::tolerance(1e-12));
  communicator->barrier();
}

BOOST_AUTO_TEST_CASE(optimizers_of_libtorch_follow_ours) {
  const auto communicator = world();
  const std::vector<std::pair<levin::OptimizerSpec, levin::OptimizerSpec>> pairs{
      {levin::SGD{.lr = 0.1, .momentum = 0.9}, levin::custom([](std::vector<Tensor> p) {
         return std::make_unique<torch::optim::SGD>(p, torch::optim::SGDOptions(0.1).momentum(0.9));
       })},
      {levin::Adagrad{.lr = 0.1},
       levin::custom([](std::vector<Tensor> p) { return std::make_unique<torch::optim::Adagrad>(p, torch::optim::AdagradOptions(0.1)); })}};
  for (const auto& [ours, theirs] : pairs) {
    check_equal(train(levin::AutoStrategy{}, *communicator, 2, 0.01, theirs), expected(0.01, ours));
    check_equal(train(DDP{ShareParameters::none}, *communicator, 1, 0, theirs), expected(0, ours));
  }
}

BOOST_AUTO_TEST_CASE(a_custom_optimizer_takes_the_private_form) {
  const auto communicator = world();
  levin::OptimizerSpec spec = levin::custom([](std::vector<Tensor> p) { return std::make_unique<torch::optim::SGD>(p, 0.1); });
  const bool several = communicator->size() > 1;
  {
    auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
    Net net;
    strategy->setup(net, {spec});
    BOOST_TEST(strategy->describe() == (several ? "ddp, a private copy of the parameters a rank" : "single_device"));
    BOOST_TEST(strategy->base_lr() == 0.1);
  }
  auto strategy = Strategy::create(DDP{ShareParameters::node}, *communicator);
  Net net;
  if (several)
    levin::test::check_throws<levin::ConfigError>([&] { strategy->setup(net, {spec}); }, {"share_parameters: node", "custom"});
  else
    strategy->setup(net, {spec});
  spec.rules = {{.pattern = "*"}};
  auto other = Strategy::create(DDP{ShareParameters::none}, *communicator);
  levin::test::check_throws<levin::UsageError>([&] { other->setup(net, {spec}); }, {"1 rules", "factory"});
  communicator->barrier();
}

BOOST_AUTO_TEST_CASE(one_rank_is_a_plain_loop) {
  at::manual_seed(7);
  Net net;
  const auto start = net.last->weight.detach().clone();
  check_equal(expected(0), expected(0));
  BOOST_TEST(!at::equal(expected(0)[4], start));  // it trains
}

// As under torch.set_flush_denormal(True). What a model computes keeps its denormal numbers.
BOOST_AUTO_TEST_CASE(updates_take_denormal_numbers_for_zeros) {
  const auto communicator = world();
  const std::vector<levin::OptimizerConfig> configs{levin::AdamW{}, levin::Adagrad{}, levin::RMSprop{}, levin::LAMB{}};
  for (const auto& config : configs) {
    auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
    Net net;
    strategy->setup(net, {config});
    const auto loss = net.loss(at::ones({2, 5}, at::kDouble)) * 1e-157;  // squares of gradients are denormal
    strategy->backward(loss, 2);
    strategy->reduce(strategy->synchronize_step(0));
    BOOST_TEST(strategy->grad_norm().item<double>() > 0);
    strategy->update([](double lr) { return lr; });
    for (const auto& state : strategy->state(levin::StateUse::save)) {
      if (!state.name.ends_with("/last.weight") || state.name.starts_with("model/") || state.name.find("/exp_avg/") != std::string::npos)
        continue;
      for (const auto& part : state.parts) BOOST_TEST(part.values.view(at::kLong).count_nonzero().item<int64_t>() == 0, state.name);
    }
    BOOST_TEST((at::full({5}, 1e-310, at::kDouble) * 2)[0].item<double>() == 2e-310);
    communicator->barrier();
  }
}

BOOST_AUTO_TEST_CASE(write_parameters_runs_once_a_copy) {
  const auto communicator = world();
  for (auto share : {ShareParameters::automatic, ShareParameters::none}) {
    auto strategy = Strategy::create(DDP{share}, *communicator);
    Net net;
    strategy->setup(net, {});
    strategy->write_parameters([](const std::string&, Tensor& p) { p.fill_(2); });
    strategy->write_parameters([](const std::string& name, Tensor& p) {
      if (name != "unused") p.mul_(3);
    });
    BOOST_TEST(at::equal(net.first->weight, at::full({7, 5}, 6.0, at::kDouble)));
    BOOST_TEST(at::equal(net.unused, at::full({4}, 2.0, at::kDouble)));
    communicator->barrier();
  }
}

BOOST_AUTO_TEST_CASE(an_error_while_writing_is_everybodys) {
  const auto communicator = world();
  auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
  Net net;
  strategy->setup(net, {});
  BOOST_CHECK_THROW(strategy->write_parameters([](const std::string&, Tensor&) { throw levin::UsageError("test", "no"); }),
                    levin::UsageError);
  communicator->barrier();
}

BOOST_AUTO_TEST_CASE(gradients_are_the_mean_in_slices) {
  const auto communicator = world();
  auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
  Net net;
  levin::OptimizerSpec spec = levin::SGD{};
  strategy->setup(net, {spec});
  strategy->backward((net.unused * at::arange(4, at::kDouble)).sum() * (communicator->rank() + 1), communicator->rank() + 1);
  const auto totals = strategy->synchronize_step(0);
  strategy->reduce(totals);
  double squares = 0, total = 0;
  for (int rank = 0; rank < communicator->size(); rank++) squares += (rank + 1) * (rank + 1), total += rank + 1;
  int64_t seen = 0;
  for (const auto& [name, slice, offset] : strategy->gradients()) {
    if (name != "unused") continue;
    seen += slice.numel();
    BOOST_TEST(at::allclose(slice, at::arange(offset, offset + slice.numel(), at::kDouble) * (squares / total)));
  }
  const auto all_seen = at::full({1}, seen, at::kLong);
  communicator->all_reduce(all_seen).wait();
  BOOST_TEST(all_seen.item<int64_t>() == (communicator->size() > 1 && !strategy->plan().shards_updates() ? 4 * communicator->size() : 4));
}

BOOST_AUTO_TEST_CASE(replaced_gradients_return_to_the_buffer) {
  const auto communicator = world();
  auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
  Net net;
  levin::OptimizerSpec spec = levin::SGD{};
  strategy->setup(net, {spec});
  strategy->backward(net.unused.sum(), 2);
  const void* home = net.unused.grad().data_ptr();
  strategy->zero_grad();
  net.unused.mutable_grad() = Tensor();
  strategy->backward(net.unused.sum(), 2);
  BOOST_TEST(net.unused.grad().data_ptr() == home);
  const double unit = communicator->size() == 1 ? 2 : 1;  // a rank alone counts in its first weight
  BOOST_TEST(at::equal(net.unused.grad(), at::full({4}, 2.0 / unit, at::kDouble)));
  communicator->barrier();
}

BOOST_AUTO_TEST_CASE(users_mistakes_are_named) {
  const auto communicator = world();
  auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
  Net net;
  levin::OptimizerSpec spec = levin::SGD{};
  strategy->setup(net, {spec});
  using levin::test::check_throws;
  check_throws<levin::UsageError>([&] { strategy->backward(Tensor(), 1); }, {"undefined"});
  check_throws<levin::UsageError>([&] { strategy->backward(net.first->weight, 1); }, {"35 elements"});
  check_throws<levin::UsageError>([&] { strategy->backward(at::ones({}), 1); }, {"requires a gradient"});
  check_throws<levin::UsageError>([&] { strategy->reduce({.weight = 0}); }, {"weight of 0"});
  net.unused.set_data(at::ones({4}, at::kDouble));
  check_throws<levin::UsageError>([&] { strategy->backward(net.first->weight.sum(), 1); }, {"\"unused\"", "write_parameters"});
  if (communicator->size() > 1)
    check_throws<levin::ConfigError>([&] { Strategy::create(levin::SingleDevice{}, *communicator); }, {"single_device"});
  communicator->barrier();
}

BOOST_AUTO_TEST_CASE(unsupported_parameters_are_named_before_the_training) {
  const auto communicator = world();
  auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
  struct With : torch::nn::Module {
    With(const std::string& name, const Tensor& parameter, const Tensor& buffer = {}) {
      register_parameter(name, parameter);
      if (buffer.defined()) register_buffer("buffer", buffer);
    }
  };
  using levin::test::check_throws;
  const auto refused = [&](std::shared_ptr<torch::nn::Module> module, const std::vector<std::string>& parts) {
    check_throws<levin::UsageError>([&] { strategy->setup(*module, {levin::SGD{}}); }, parts);
  };
  refused(std::make_shared<With>("table", at::ones({3}, at::kComplexFloat)),
          {"parameter \"table\" 3 complex64", "not supported", "view_as_real"});
  refused(std::make_shared<With>("w", at::ones({3}), at::ones({3}, at::kComplexDouble)), {"buffer \"buffer\" 3 complex128"});
  refused(std::make_shared<With>("w/b", at::ones({3})), {"\"w/b\"", "slash"});
  struct Table : torch::nn::Module {
    explicit Table(bool sparse) {
      table = register_module("table", torch::nn::Embedding(torch::nn::EmbeddingOptions(5, 2).sparse(sparse)));
      bare = register_parameter("bare", at::ones({5, 2}));
    }
    torch::nn::Embedding table{nullptr};
    Tensor bare;
  };
  refused(std::make_shared<Table>(true), {"\"table.weight\"", "sparse gradients"});
  // A sparse gradient of an operation is found when it comes.
  const auto table = std::make_shared<Table>(false);
  strategy->setup(*table, {levin::SGD{}});
  const Tensor rows = at::embedding(table->bare, at::ones({2}, at::kLong), -1, false, /*sparse=*/true);
  check_throws<levin::UsageError>([&] { strategy->backward(rows.sum(), 1); }, {"\"bare\"", "sparse gradient"});
}

BOOST_AUTO_TEST_CASE(layers_that_are_not_registered_are_a_warning) {
  const auto communicator = world();
  const auto warnings_of = [&](const std::function<Tensor(Net&, const Tensor& x)>& loss) {
    const levin::test::CapturedStderr captured;
    auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator, 64, levin::Log::to_stderr(communicator->rank()));
    const auto net = std::make_shared<Net>();
    strategy->setup(*net, {levin::SGD{}});
    for (int step = 0; step < 2; step++) {
      strategy->backward(loss(*net, all_data(step)), 1);
      strategy->zero_grad();
    }
    communicator->barrier();
    return captured.text();
  };
  torch::nn::Linear forgotten(7, 2);
  forgotten->to(at::kDouble);
  const auto found = warnings_of([&](Net& net, const Tensor& x) { return forgotten(net.first(x)).mean(); });
  if (communicator->rank() == 0) {
    BOOST_TEST(found.find("2 tensor(s) that require a gradient and that no module registers") != std::string::npos, found);
    for (const char* form : {"2x7 float64", "2 float64", "register_module"}) BOOST_TEST(found.find(form) != std::string::npos, found);
    BOOST_TEST(found.find("register_module") == found.rfind("register_module"), found);  // once
  } else {
    BOOST_TEST(found.empty(), found);
  }
  // An input may require a gradient.
  const auto input = warnings_of([&](Net& net, const Tensor& x) { return net.loss(x.detach().clone().requires_grad_()); });
  BOOST_TEST(input.empty(), input);
}

BOOST_AUTO_TEST_CASE(patterns_that_match_nothing_are_refused) {
  const auto communicator = world();
  auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
  const auto net = std::make_shared<Net>();
  levin::OptimizerSpec spec = levin::SGD{};
  spec.rules = {{.pattern = "*.biass", .lr = 0}};
  levin::test::check_throws<levin::ConfigError>([&] { strategy->setup(*net, {spec}); }, {"\"*.biass\"", "rule", "first.weight"});
}

BOOST_AUTO_TEST_CASE(ranks_with_different_models_are_an_error) {
  const auto communicator = world();
  if (communicator->size() == 1) return;
  auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
  torch::nn::Linear model(3, communicator->rank() == 1 ? 5 : 4);
  levin::test::check_throws<levin::UsageError>(
      [&] { strategy->setup(*model, {}); },
      {"different models: rank 0 has parameter \"weight\" 4x3 float32, where rank 1 has parameter \"weight\" 5x3 float32"});

  struct Counters : torch::nn::Module {
    explicit Counters(int64_t count) {
      for (int64_t i = 0; i < count; i++) register_buffer("seen" + std::to_string(i), at::zeros({}, at::kLong));
    }
  };
  Counters counters(communicator->rank() == communicator->size() - 1 ? 3 : 2);
  const auto last = std::to_string(communicator->size() - 1);
  levin::test::check_throws<levin::UsageError>([&] { strategy->setup(counters, {}); }, {"rank 0 has nothing after 2 others, where rank " +
                                                                                        last + " has buffer \"seen2\" scalar int64"});
  Net net;
  if (communicator->rank() == 0) net.unused.requires_grad_(false);
  levin::test::check_throws<levin::UsageError>([&] { strategy->setup(net, {}); },
                                               {"rank 0 has parameter \"unused\" 4 float64, not trained, where"});
}

BOOST_AUTO_TEST_CASE(parameters_that_are_replaced_are_named) {
  const auto communicator = world();
  using levin::test::check_throws;
  const auto train = [&](void (*replace)(Net&)) {
    auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
    const auto net = std::make_shared<Net>();
    strategy->setup(*net, {levin::SGD{}});
    const auto backward = [&] {
      strategy->backward(net->loss(all_data(0)), 1);
      strategy->zero_grad();
    };
    backward();
    replace(*net);
    backward();
    backward();
  };
  train([](Net&) {});
  train([](Net& net) { net.first->weight.requires_grad_(false); });
  check_throws<levin::UsageError>([&] { train([](Net& net) {
                                          net.first->weight = at::ones({7, 5}, at::kDouble).requires_grad_();
                                        }); },
                                  {"\"first.weight\" 7x5 float64", "replaced by an assignment", "write_parameters"});
  const auto replace = [](Net& net) {
    net.last = net.replace_module("last", torch::nn::Linear(torch::nn::LinearOptions(7, 1).bias(false)));
    net.last->to(at::kDouble);
  };
  check_throws<levin::UsageError>([&] { train(replace); }, {"\"last.", "after the training began"});
  communicator->barrier();
}

BOOST_AUTO_TEST_CASE(buffers_of_rank_0_are_the_truth) {
  const auto communicator = world();
  auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
  Net net;
  strategy->setup(net, {});
  net.norm->running_mean.fill_(communicator->rank() + 5);
  strategy->broadcast_buffers();
  BOOST_TEST(net.norm->running_mean[3].item<double>() == 5.0);
}

// Between hosts the last backward of a step sends what is complete; inside one there is nothing to send.
BOOST_AUTO_TEST_CASE(reductions_start_in_the_last_backward) {
  const auto communicator = world();
  const bool several = communicator->node()->size() < communicator->size();
  for (auto share : {ShareParameters::automatic, ShareParameters::none}) {
    auto strategy = Strategy::create(DDP{share}, *communicator);
    Net net;
    levin::OptimizerSpec spec = levin::SGD{};
    strategy->setup(net, {spec});
    const auto reducing = [&] {
      const auto groups = strategy->groups();
      return std::count_if(groups.begin(), groups.end(), [](const auto& group) { return group.reducing; });
    };
    for (int step = 0; step < 3; step++) {
      strategy->backward(net.loss(all_data(step)), samples);
      BOOST_TEST(reducing() == 0);
      strategy->expect_step();
      strategy->backward(net.loss(all_data(step)), samples);
      BOOST_TEST(reducing() == (several ? 1 : 0));  // one group is trained; the unused parameter is in it
      if (several)
        levin::test::check_throws<levin::UsageError>([&] { strategy->backward(net.loss(all_data(step)), samples); },
                                                     {"the last of its step"});
      const auto totals = strategy->synchronize_step(0);
      BOOST_TEST(totals.weight == 2 * samples * communicator->size());
      strategy->reduce(totals);
      BOOST_TEST(reducing() == 0);
      for (const auto& [name, slice, offset] : strategy->gradients())
        if (name == "unused") BOOST_TEST(slice.eq(0).all().item<bool>());
      strategy->update([](double lr) { return lr; });
      strategy->zero_grad();
    }
    strategy->expect_step();
    strategy->backward(net.loss(all_data(0)), 0);  // a step without samples is dropped
    strategy->synchronize_step(0);
    strategy->zero_grad();
    BOOST_TEST(reducing() == 0);
    communicator->barrier();
  }
}

BOOST_AUTO_TEST_CASE(each_optimizer_has_its_own_groups) {
  const auto communicator = world();
  for (auto share : {ShareParameters::automatic, ShareParameters::none}) {
    auto strategy = Strategy::create(DDP{share}, *communicator);
    Net net;
    levin::OptimizerSpec first = levin::SGD{.lr = 1}, rest = levin::AdamW{.lr = 0.1};
    first.parameters = {"first.*"}, rest.parameters = {"block.*", "last.*", "norm.*", "unused"};
    strategy->setup(net, {first, rest});
    BOOST_TEST(strategy->base_lr(0) == 1);
    BOOST_TEST(strategy->base_lr(1) == 0.1);
    const Tensor first_before = net.first->weight.detach().clone(), last_before = net.last->weight.detach().clone();
    strategy->toggle(0);
    BOOST_TEST(!net.last->weight.requires_grad());
    strategy->expect_step(0);
    strategy->backward(net.loss(all_data(0)), samples);
    strategy->toggle(std::nullopt);
    BOOST_TEST(net.last->weight.requires_grad());
    BOOST_TEST(!net.frozen.requires_grad());
    strategy->reduce(strategy->synchronize_step(0, 0), 0);
    for (const auto& [name, slice, offset] : strategy->gradients(0)) BOOST_TEST(name.starts_with("first."));
    strategy->update([](double lr) { return lr; }, 0);
    strategy->zero_grad(0);
    BOOST_TEST(!at::equal(first_before, net.first->weight));
    BOOST_TEST(at::equal(last_before, net.last->weight));
    BOOST_TEST(strategy->synchronize_step(0, 1).weight == 0);  // it took no part
    strategy->zero_grad(1);
    communicator->barrier();
  }
}

// 2 calls: their mean over all samples, or the sum of the calls' means.
BOOST_AUTO_TEST_CASE(calls_are_averaged_or_added_up) {
  const auto communicator = world();
  for (const auto accumulation : {levin::Accumulation::mean, levin::Accumulation::sum}) {
    auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
    Net net;
    levin::OptimizerSpec spec = levin::SGD{};
    strategy->setup(net, {spec});
    for (double slope : {2.0, 4.0}) strategy->backward(net.unused.sum() * slope, 3);
    strategy->reduce(strategy->synchronize_step(0), 0, accumulation);
    for (const auto& [name, slice, offset] : strategy->gradients())
      if (name == "unused") BOOST_TEST(slice.eq(accumulation == levin::Accumulation::sum ? 6 : 3).all().item<bool>());
    communicator->barrier();
  }
}

// Peers read this rank's gradients after a reduction; without an update they synchronize before the next backward writes there.
BOOST_AUTO_TEST_CASE(a_reduction_without_an_update_is_safe) {
  const auto communicator = world();
  auto strategy = Strategy::create(levin::AutoStrategy{}, *communicator);
  Net net;
  levin::OptimizerSpec spec = levin::SGD{};
  strategy->setup(net, {spec});
  for (int step = 1; step <= 50; step++) {
    strategy->backward(net.unused.sum() * step, 1);
    strategy->reduce(strategy->synchronize_step(0));
    for (const auto& [name, slice, offset] : strategy->gradients())
      if (name == "unused") BOOST_TEST(slice.eq(step).all().item<bool>());
    strategy->zero_grad();
  }
}

BOOST_AUTO_TEST_CASE(a_step_in_a_node_makes_no_mpi_call) {
  const auto communicator = world();
  if (communicator->node()->size() < communicator->size()) return;
  for (auto share : {ShareParameters::automatic, ShareParameters::none}) {
    auto strategy = Strategy::create(DDP{share}, *communicator);
    Net net;
    levin::OptimizerSpec spec = levin::AdamW{};
    strategy->setup(net, {spec});
    const auto before = levin::test::mpi_calls();
    for (int step = 0; step < 3; step++) {
      strategy->backward(net.loss(all_data(step)), samples);
      strategy->reduce(strategy->synchronize_step(0));
      strategy->clip_by_norm(strategy->grad_norm(), 1);
      strategy->update([](double lr) { return lr; });
      strategy->zero_grad();
    }
    BOOST_TEST(levin::test::mpi_calls() == before);
    communicator->barrier();
  }
}

BOOST_AUTO_TEST_SUITE_END()
