#include "levin/device/plugin.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/imag.h>
#include <ATen/ops/sin.h>
#include <dlfcn.h>
#include <link.h>
#include <torch/optim/sgd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>

#include "../exported/fixture.h"
#include "../trainer/toy.h"
#include "check_all_throw.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/callbacks/model_pruning.h"
#include "levin/callbacks/on_exception_checkpoint.h"
#include "levin/comm/communicator.h"
#include "levin/device/accelerator.h"
#include "levin/device/host_copy.h"
#include "levin/device/host_staging.h"
#include "levin/nn/unit.h"
#include "levin_test.h"

using levin::test::check_all_throw, levin::test::check_throws, levin::test::fit, levin::test::runtime, levin::test::ToyData;

BOOST_AUTO_TEST_SUITE(device_plugin)

namespace {

// A library that tests/device/meson.build makes.
std::string built(const std::string& file) { return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "device" / file; }
std::string host_memory() { return built("liblevin_host_memory.so"); }

template <class Function>
Function* function_of_plugin(const char* name) {
  void* library = dlopen(host_memory().c_str(), RTLD_LAZY | RTLD_NOLOAD);
  BOOST_REQUIRE(library);
  const auto function = reinterpret_cast<Function*>(dlsym(library, name));
  dlclose(library);
  BOOST_REQUIRE(function);
  return function;
}

// Times that the host waited for the device until now.
int64_t synchronizations() { return function_of_plugin<int64_t()>("host_memory_synchronizations")(); }
// From now on waits for events that were recorded before are none.
void begin_step() { function_of_plugin<void()>("host_memory_begin_step")(); }
// The current stream, and that of the last asynchronous copy to the host; 0 is the default stream.
int64_t current_stream() { return function_of_plugin<int64_t()>("host_memory_stream")(); }
int64_t stream_of_copies() { return function_of_plugin<int64_t()>("host_memory_stream_of_copies")(); }

std::vector<std::string> loaded(const std::string& part_of_name) {
  std::pair<std::string, std::vector<std::string>> search{part_of_name, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto& [part, found] = *static_cast<decltype(search)*>(data);
        if (std::string(info->dlpi_name).find(part) != std::string::npos) found.emplace_back(info->dlpi_name);
        return 0;
      },
      &search);
  return search.second;
}

struct MiddleImpl : levin::Unit<levin::Tensor(levin::Tensor)> {
  explicit MiddleImpl(int64_t width) { linear = register_module("linear", torch::nn::Linear(width, width)); }
  levin::Tensor compute(levin::Tensor x) override { return linear(x).tanh(); }
  torch::nn::Linear linear{nullptr};
};
LEVIN_UNIT(Middle);

struct Deep : levin::test::Toy {
  Deep() { middle = register_module("middle", Middle(4)); }
  levin::Tensor training_step(const levin::Batch& batch) override { return at::mse_loss(net(batch["x"] + middle(batch["x"])), batch["y"]); }
  Middle middle{nullptr};
};

levin::TrainerConfig config_on(const std::string& accelerator) {
  levin::TrainerConfig config{.max_epochs = 2};
  config.session.accelerator = accelerator;
  config.session.precision = levin::Precision::float64;
  config.session.gradient_clip_val = 0.5;
  config.accumulate_grad_batches = 2;
  return config;
}

}  // namespace

// Whatever is first asked of LibTorch is asked after this case.
BOOST_AUTO_TEST_CASE(loads_once_and_shares_the_library) {
  const auto& plugin = levin::load_plugin(host_memory());
  BOOST_TEST(&levin::load_plugin(host_memory()) == &plugin);
  BOOST_TEST(loaded("liblevin_host_memory.so").size() == 1);
  BOOST_TEST(loaded("/liblevin.so").size() == 1);
  const auto accelerator = levin::AcceleratorRegistry().create(host_memory());
  BOOST_TEST(accelerator->name() == "host_memory");
  BOOST_TEST(bool(accelerator->device(0, 1).type() == c10::kMTIA));
}

// LibTorch conjugates and negates lazily: a bit of the tensor changes, its memory does not.
BOOST_AUTO_TEST_CASE(conjugated_tensors_have_their_values) {
  const auto device = levin::AcceleratorRegistry().create(host_memory())->device(0, 1);
  const levin::Tensor host = at::complex(at::arange(4, at::kDouble), at::arange(4, 8, at::kDouble)), expected = host.conj().resolve_conj();
  const levin::Tensor conjugated = host.to(device).conj(), negated = at::imag(conjugated);
  BOOST_REQUIRE(conjugated.is_conj());
  BOOST_REQUIRE(negated.is_neg());
  BOOST_TEST(at::equal(conjugated.cpu(), expected));
  BOOST_TEST(at::equal(conjugated.clone().cpu(), expected));
  BOOST_TEST(at::equal(negated.cpu(), at::imag(expected)));
  BOOST_TEST(at::equal((conjugated * host.to(device)).cpu(), expected * host));
}

BOOST_AUTO_TEST_CASE(trains_as_the_cpu_does) {
  const std::vector<levin::OptimizerSpec> specs{levin::AdamW{.lr = 0.01}, levin::SGD{.lr = 0.01, .momentum = 0.9}, levin::LAMB{.lr = 0.01},
                                                levin::Adagrad{.lr = 0.01}};
  for (const auto& spec : specs) {
    ToyData data;
    const auto use = [&](levin::test::Toy& toy) { toy.spec = spec; };
    const auto device = fit(config_on(host_memory()), data, use), host = fit(config_on("cpu"), data, use);
    const auto& weight = device.module->net->weight;
    BOOST_TEST(bool(weight.device().type() == c10::kMTIA));
    BOOST_TEST(bool(device.module->mean_index_.device().type() == c10::kMTIA));
    BOOST_TEST(at::allclose(weight.cpu(), host.module->net->weight, 1e-9, 1e-12));
    BOOST_TEST(device.trainer->report().steps == host.trainer->report().steps);
    const auto& values = device.trainer->report().metrics;
    const auto& expected = host.trainer->report().metrics;
    BOOST_REQUIRE(values.size() == expected.size());
    for (size_t i = 0; i < values.size(); i++) {
      BOOST_TEST(values[i].first == expected[i].first);
      BOOST_TEST(values[i].second == expected[i].second, boost::test_tools::tolerance(1e-9));
    }
    auto& session = device.trainer->session();
    BOOST_TEST(session.strategy().describe() == (session.size() > 1 ? "ddp, a private copy of the parameters a rank" : "single_device"));
    BOOST_TEST(&session.communicator().cpu() != &session.communicator());
  }
}

// Parts of parameters, gradients and the optimizer's state on the device, or in host memory.
BOOST_AUTO_TEST_CASE(shards_as_one_rank_does) {
  const auto train = [](levin::MpiRuntime& mpi, const levin::SessionConfig& config, const levin::OptimizerSpec& spec) {
    ToyData data;
    levin::Trainer trainer({.session = config, .max_epochs = 2}, mpi, 3);
    const auto module = trainer.build<Deep>();
    module->spec = spec;
    trainer.fit(*module, data);
    std::vector<levin::Tensor> values;
    trainer.session().write_parameters([&](const std::string&, levin::Tensor& tensor) { values.push_back(tensor.detach().to(at::kCPU)); });
    trainer.session().communicator().barrier();
    return values;
  };
  levin::MpiRuntime alone(MPI_COMM_SELF);
  const levin::ShardingOptions offload{.offload_optimizer = true};
  // LAMB needs norms over all shards; with offload_parameters alone those outside of units stay on the device.
  for (const levin::OptimizerSpec& spec : {levin::OptimizerSpec(levin::AdamW{.lr = 0.01}), levin::OptimizerSpec(levin::LAMB{.lr = 0.01})}) {
    const auto expected = train(alone, config_on("cpu").session, spec);
    levin::SessionConfig config = config_on(host_memory()).session;
    config.activation_checkpointing = levin::ActivationCheckpointing::offload;
    for (const levin::StrategyConfig& strategy : std::vector<levin::StrategyConfig>{
             levin::Zero1{}, levin::Zero1{offload}, levin::Zero2{}, levin::FSDP{}, levin::FSDP{.sharding = offload},
             levin::FSDP{.sharding = {.offload_parameters = true}}, levin::FSDPOffload{}, levin::HSDP{{.shard_group_size = 1}}}) {
      config.strategy = strategy;
      const auto found = train(runtime(), config, spec);
      BOOST_REQUIRE(found.size() == expected.size());
      for (size_t i = 0; i < found.size(); i++) BOOST_TEST(at::allclose(found[i], expected[i], 1e-9, 1e-12));
    }
  }
}

// What a step gathers and scatters lies in the arena of the shard group, which a backend registers once.
BOOST_AUTO_TEST_CASE(a_step_gathers_and_scatters_in_the_arena) {
  struct Watched : Deep {
    levin::Tensor training_step(const levin::Batch& batch) override {
      outside.push_back(function_of_plugin<int64_t()>("host_memory_collectives_outside")());
      return Deep::training_step(batch);
    }
    std::vector<int64_t> outside;
  };
  for (const levin::StrategyConfig& strategy : std::vector<levin::StrategyConfig>{levin::Zero1{}, levin::Zero2{}, levin::FSDP{}}) {
    auto config = config_on(host_memory());
    config.session.strategy = strategy;
    config.accumulate_grad_batches = 1;
    config.max_epochs = 1;
    ToyData data;
    levin::Trainer trainer(config, runtime(), 3);
    const auto module = trainer.build<Watched>();
    trainer.fit(*module, data);
    BOOST_REQUIRE(module->outside.size() == 5);
    BOOST_TEST(module->outside.back() == module->outside.front(), trainer.session().strategy().describe());
  }
}

// With offload_parameters a mask lies in host memory beside its shard, and the gradient on the device.
BOOST_AUTO_TEST_CASE(shards_in_host_memory_are_pruned) {
  const auto train = [](levin::MpiRuntime& mpi, const levin::SessionConfig& config) {
    ToyData data;
    levin::Trainer trainer({.session = config, .max_epochs = 2}, mpi, 3);
    trainer.add_callback(std::make_shared<levin::ModelPruning>(levin::ModelPruningConfig{.parameters_to_prune = {"*weight"}}));
    const auto module = trainer.build<Deep>();
    trainer.fit(*module, data);
    std::vector<levin::Tensor> values;
    trainer.session().read_parameters([&](const std::string&, const levin::Tensor& value) { values.push_back(value.cpu().clone()); });
    return values;
  };
  levin::MpiRuntime alone(MPI_COMM_SELF);
  const auto expected = train(alone, config_on("cpu").session);
  auto config = config_on(host_memory()).session;
  config.strategy = levin::FSDP{.sharding = {.offload_parameters = true}};
  const auto found = train(runtime(), config);
  BOOST_REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); i++) BOOST_TEST(at::allclose(found[i], expected[i], 1e-9, 1e-12));
}

// A frozen parameter has no norm on any rank, a rank alone included.
BOOST_AUTO_TEST_CASE(an_offloaded_update_leaves_out_frozen_parameters) {
  const auto weight_of = [](const std::string& accelerator, const levin::StrategyConfig& strategy) {
    auto config = config_on(accelerator);
    config.session.strategy = strategy;
    ToyData data;
    const auto fitted = fit(config, data, [](levin::test::Toy& toy) {
      toy.spec = levin::LAMB{.lr = 0.01};
      toy.in_step = [&toy] { toy.net->bias.set_requires_grad(false); };
    });
    levin::Tensor weight;
    fitted.trainer->session().read_parameters([&](const std::string& name, const levin::Tensor& value) {
      if (name == "net.weight") weight = value.cpu().clone();
    });
    return weight;
  };
  BOOST_TEST(at::allclose(weight_of(host_memory(), levin::Zero1{{.offload_optimizer = true}}), weight_of("cpu", levin::AutoStrategy{}),
                          1e-9, 1e-12));
}

BOOST_AUTO_TEST_CASE(a_custom_optimizer_cannot_be_offloaded) {
  auto config = config_on(host_memory());
  config.session.strategy = levin::FSDP{.sharding_strategy = levin::ShardingStrategy::no_shard, .sharding = {.offload_optimizer = true}};
  ToyData data;
  const auto custom = [](levin::test::Toy& toy) {
    toy.spec = levin::custom([](std::vector<levin::Tensor> parameters) { return std::make_unique<torch::optim::SGD>(parameters, 0.01); });
  };
  check_all_throw<levin::ConfigError>([&] { fit(config, data, custom); }, {"offload_optimizer", "custom optimizer"});
}

namespace {

// Counts the host's waits at the begin of every step.
struct Counted : levin::test::Toy {
  levin::Tensor training_step(const levin::Batch& batch) override {
    counts.push_back(synchronizations());
    streams.insert(current_stream());
    begin_step();
    if (bias_joins_at > 0) net->bias.set_requires_grad(std::ssize(counts) >= bias_joins_at);
    levin::Tensor loss = at::mse_loss(net(batch["x"]), batch["y"]);
    if (static_cast<int64_t>(counts.size()) == bad_step) loss = loss * std::numeric_limits<double>::infinity();
    log("train_loss", loss);
    return loss;
  }
  std::vector<levin::OptimizerSpec> configure_optimizers() override { return {spec}; }
  std::vector<int64_t> counts;
  std::set<int64_t> streams;
  int64_t bad_step = -1;      // counted from 1: its gradient is not finite
  int64_t bias_joins_at = 0;  // in the same count; 0: it is never frozen
};

struct Counting {
  std::shared_ptr<Counted> module;
  std::unique_ptr<levin::Trainer> trainer;
  std::shared_ptr<levin::test::MemoryLogger> logger = std::make_shared<levin::test::MemoryLogger>();
};

std::vector<double> logged(const Counting& counting, const std::string& name) {
  std::vector<double> values;
  for (const auto& row : counting.logger->rows)
    if (const double* value = levin::find_value(row.values, name)) values.push_back(*value);
  return values;
}

Counting count(const levin::TrainerConfig& config, ToyData& data, const std::function<void(Counted&)>& set = {}) {
  Counting counting{nullptr, std::make_unique<levin::Trainer>(config, runtime(), 3)};
  counting.trainer->add_logger(counting.logger);
  counting.module = counting.trainer->build<Counted>();
  if (set) set(*counting.module);
  counting.trainer->fit(*counting.module, data);
  return counting;
}

}  // namespace

// Clipping, logging every step, and skipping: under every strategy the host waits for nothing that its own step queued.
BOOST_AUTO_TEST_CASE(no_step_waits_for_itself) {
  const std::vector<levin::StrategyConfig> strategies{levin::DDP{}, levin::Zero1{}, levin::Zero2{}, levin::FSDP{},
                                                      levin::HSDP{{.shard_group_size = 1}}};
  using levin::NonfiniteGradients, levin::Precision;
  for (const auto& strategy : strategies)
    for (const auto policy : {NonfiniteGradients::ignore, NonfiniteGradients::skip, NonfiniteGradients::error})
      for (const levin::OptimizerSpec& spec :
           {levin::OptimizerSpec(levin::AdamW{.lr = 0.01}), levin::OptimizerSpec(levin::SGD{.lr = 0.01, .momentum = 0.9}),
            levin::OptimizerSpec(levin::Adagrad{.lr = 0.01}), levin::OptimizerSpec(levin::LAMB{.lr = 0.01}),
            levin::OptimizerSpec(levin::RMSprop{.lr = 0.01, .momentum = 0.9}),
            levin::OptimizerSpec(levin::Lion{.lr = 0.001, .weight_decay = 0.1})}) {
        auto config = config_on(host_memory());
        config.session.strategy = strategy;
        config.session.nonfinite_gradients = policy;
        config.accumulate_grad_batches = 1;
        config.log_every_n_steps = 1;
        config.max_epochs = 1;
        ToyData data;
        const auto bad_step = policy == NonfiniteGradients::skip ? 3 : -1;
        const auto counting = count(config, data, [&](Counted& module) { module.spec = spec, module.bad_step = bad_step; });
        BOOST_REQUIRE(counting.module->counts.size() == 5);
        BOOST_TEST(counting.module->counts.back() == counting.module->counts[1]);
        BOOST_TEST((counting.module->streams.size() == 1 && !counting.module->streams.contains(0)));  // not the default stream
        BOOST_TEST(current_stream() == 0);
        BOOST_TEST(counting.trainer->report().skipped_steps == (bad_step > 0 ? 1 : 0));
      }
}

// The device skips, and the host counts, names, logs and saves the same as where the host decides.
BOOST_AUTO_TEST_CASE(skipped_steps_are_those_of_the_cpu) {
  for (const levin::OptimizerSpec& spec :
       {levin::OptimizerSpec(levin::AdamW{.lr = 0.01}), levin::OptimizerSpec(levin::SGD{.lr = 0.01, .momentum = 0.9}),
        levin::OptimizerSpec(levin::SGD{.lr = 0.01, .momentum = 0.9, .dampening = 0.5}), levin::OptimizerSpec(levin::Adagrad{.lr = 0.01}),
        levin::OptimizerSpec(levin::RMSprop{.lr = 0.01, .momentum = 0.9}), levin::OptimizerSpec(levin::Lion{.lr = 0.001}),
        levin::OptimizerSpec(levin::LAMB{.lr = 0.01})})
    for (const int64_t bad_step : {1, 3, 5, 10}) {
      const auto run = [&](const std::string& accelerator) {
        auto config = config_on(accelerator);
        config.session.nonfinite_gradients = levin::NonfiniteGradients::skip;
        config.accumulate_grad_batches = 1;
        config.log_every_n_steps = 2;
        ToyData data;
        return count(config, data, [&](Counted& module) { module.spec = spec, module.bad_step = bad_step; });
      };
      const auto device = run(host_memory()), host = run("cpu");
      BOOST_TEST(at::allclose(device.module->net->weight.cpu(), host.module->net->weight, 1e-9, 1e-12));
      BOOST_TEST(device.trainer->report().skipped_steps == 1);
      BOOST_TEST(device.trainer->session().scaling().skipped_steps() == 1);
      BOOST_TEST(device.trainer->session().strategy().optimizer_steps(0) == 9);
      BOOST_TEST(host.trainer->session().strategy().optimizer_steps(0) == 9);
      const auto &rows = device.logger->rows, &expected = host.logger->rows;
      BOOST_REQUIRE(rows.size() == expected.size());
      for (size_t i = 0; i < rows.size(); i++) {
        BOOST_TEST(rows[i].step == expected[i].step);
        BOOST_TEST(rows[i].epoch == expected[i].epoch);
        BOOST_REQUIRE(rows[i].values.size() == expected[i].values.size());
        for (size_t j = 0; j < rows[i].values.size(); j++) {
          const auto& [name, value] = rows[i].values[j];
          const auto& [expected_name, expected_value] = expected[i].values[j];
          BOOST_TEST(name == expected_name);
          BOOST_TEST((value == expected_value || std::abs(value - expected_value) <= 1e-9 * std::abs(value)));
        }
      }
    }
}

// An update that the device skips is none that a frozen parameter missed.
BOOST_AUTO_TEST_CASE(parameters_that_join_later_do_not_count_skipped_steps) {
  for (const levin::OptimizerSpec& spec :
       {levin::OptimizerSpec(levin::AdamW{.lr = 0.01}), levin::OptimizerSpec(levin::SGD{.lr = 0.01, .momentum = 0.9, .dampening = 0.5}),
        levin::OptimizerSpec(levin::LAMB{.lr = 0.01})}) {
    const auto run = [&](const std::string& accelerator) {
      auto config = config_on(accelerator);
      config.session.nonfinite_gradients = levin::NonfiniteGradients::skip;
      config.accumulate_grad_batches = 1;
      ToyData data;
      return count(config, data, [&](Counted& module) { module.spec = spec, module.bad_step = 3, module.bias_joins_at = 5; });
    };
    const auto device = run(host_memory()), host = run("cpu");
    BOOST_TEST(at::allclose(device.module->net->weight.cpu(), host.module->net->weight, 1e-9, 1e-12));
    BOOST_TEST(at::allclose(device.module->net->bias.cpu(), host.module->net->bias, 1e-9, 1e-12));
    const std::map<std::string, int64_t> expected{{"net.bias", 3}};
    BOOST_TEST((device.trainer->session().strategy().missed_updates() == expected));
    BOOST_TEST((host.trainer->session().strategy().missed_updates() == expected));
  }
}

BOOST_AUTO_TEST_CASE(a_nonfinite_gradient_names_its_step) {
  auto config = config_on(host_memory());
  config.session.nonfinite_gradients = levin::NonfiniteGradients::error;
  config.accumulate_grad_batches = 1;
  for (const int64_t bad_step : {1, 4, 10}) {
    ToyData data;
    check_throws<levin::Error>([&] { count(config, data, [&](Counted& module) { module.bad_step = bad_step; }); },
                               {fmt::format("the gradient of step {} is not finite", bad_step - 1)});
  }
}

// Copies of this device arrive when they are waited for, so that a buffer that is emptied too early holds nonsense.
BOOST_AUTO_TEST_CASE(large_tensors_are_staged) {
  const auto device = levin::AcceleratorRegistry().create(host_memory())->device(0, 1);
  for (const int64_t bytes : {4, 64, 1000, 1 << 20}) {
    levin::HostStaging staging(bytes);
    for (const int64_t numel : {0, 1, 2, 16, 17, 1000, 4096})
      for (const auto dtype : {at::kFloat, at::kDouble, at::kHalf, at::kLong, at::kBool}) {
        if (bytes < static_cast<int64_t>(c10::elementSize(dtype))) continue;
        const auto values = at::arange(numel, at::kDouble).to(dtype);
        BOOST_TEST(at::equal(staging.read(values.to(device)), values));
      }
    const auto matrix = at::arange(600, at::kFloat).view({20, 30});
    BOOST_TEST(at::equal(staging.read(matrix.to(device).t()), matrix.t()));
  }
  const auto host = at::arange(4);
  BOOST_TEST(levin::HostStaging().read(host).is_alias_of(host));
}

BOOST_AUTO_TEST_CASE(two_staged_copies_are_on_their_way_on_a_stream_of_their_own) {
  const auto device = levin::AcceleratorRegistry().create(host_memory())->device(0, 1);
  const auto values = at::arange(1000, at::kFloat);
  levin::HostStaging staging(64);
  staging.read(values.to(device));  // copies of earlier cases arrive, too
  begin_step();
  BOOST_TEST(at::equal(staging.read(values.to(device)), values));
  BOOST_TEST(function_of_plugin<int64_t()>("host_memory_copies_in_flight")() == 2);
  BOOST_TEST(stream_of_copies() != current_stream());
}

BOOST_AUTO_TEST_CASE(a_copy_to_the_host_arrives_when_it_is_read) {
  const auto device = levin::AcceleratorRegistry().create(host_memory())->device(0, 1);
  const auto values = at::arange(3, at::kDouble).to(device);
  const levin::HostCopy copy(values), same = copy;
  values.fill_(7);  // after the copy, in the order of the device
  const auto before = synchronizations();
  begin_step();
  BOOST_TEST(at::equal(same.get(), at::arange(3, at::kDouble)));
  BOOST_TEST(at::equal(copy.get(), at::arange(3, at::kDouble)));
  BOOST_TEST(synchronizations() == before);
  levin::HostCopy(values).get();
  BOOST_TEST(synchronizations() == before + 1);
}

// A state that is saved right after a skipped step, whose skip the host does not know yet.
BOOST_AUTO_TEST_CASE(a_saved_state_holds_final_values) {
  const levin::test::FolderOfRanks folder;
  auto config = config_on(host_memory()).session;
  config.nonfinite_gradients = levin::NonfiniteGradients::skip;
  config.gradient_clip_val = 0.5;
  const auto open = [&] {
    auto session = std::make_unique<levin::Session>(runtime(), config, 3);
    auto module = session->build<Counted>();
    module->spec = levin::AdamW{.lr = 0.01};
    session->setup(*module);
    return std::pair(std::move(session), std::move(module));
  };
  const auto train = [&](levin::Session& session, Counted& module, int64_t begin, int64_t end) {
    for (int64_t step = begin; step < end; step++) {
      const auto x = at::sin(at::arange(8, at::kDouble) + step + session.rank()).view({2, 4}).to(session.device());
      const double factor = step == 2 ? std::numeric_limits<double>::infinity() : 1;
      session.backward(module.net(x).square().mean() * factor, 2);
      BOOST_TEST(session.step());
      if (step != 2) continue;
      session.save(folder.path / "saved");
      BOOST_TEST((session.rank() != 0 || stream_of_copies() != current_stream()));  // staged; others may have no part
    }
    std::vector<levin::Tensor> values;
    session.read_parameters([&](const std::string&, const levin::Tensor& value) { values.push_back(value.detach().cpu().clone()); });
    return values;
  };
  const auto [unbroken, module] = open();
  const auto expected = train(*unbroken, *module, 0, 6);
  const auto [resumed, again] = open();
  resumed->restore(folder.path / "saved");
  BOOST_TEST(resumed->progress().step == 3);
  BOOST_TEST(resumed->scaling().skipped_steps() == 1);
  BOOST_TEST(resumed->strategy().optimizer_steps(0) == 2);
  const auto values = train(*resumed, *again, 3, 6);
  for (size_t i = 0; i < expected.size(); i++) BOOST_TEST(at::equal(values[i], expected[i]));
  BOOST_TEST(resumed->strategy().optimizer_steps(0) == 5);
  resumed->communicator().barrier();
}

// The scale of the loss is updated on the device.
BOOST_AUTO_TEST_CASE(scales_the_loss_as_the_cpu_does) {
  const auto run = [&](const std::string& accelerator) {
    auto config = config_on(accelerator);
    config.session.precision = levin::Precision::float16_mixed;
    config.session.loss_scaling = {.init_scale = 64, .growth_factor = 4, .backoff_factor = 0.25, .growth_interval = 3};
    config.accumulate_grad_batches = 1;
    config.log_every_n_steps = 1;
    ToyData data;
    return count(config, data, [](Counted& module) { module.bad_step = 6; });
  };
  const auto device = run(host_memory()), host = run("cpu");
  const auto& counts = device.module->counts;
  BOOST_REQUIRE(counts.size() == 10);
  BOOST_TEST(counts[4] == counts[1]);
  BOOST_TEST(counts[9] == counts[6]);  // the first step of an epoch reads the values of the one before
  BOOST_TEST(device.trainer->report().skipped_steps == 1);
  BOOST_TEST(device.trainer->session().scaling().loss_scaler()->scale() == host.trainer->session().scaling().loss_scaler()->scale());
  BOOST_TEST(at::allclose(device.module->net->weight.cpu(), host.module->net->weight, 1e-2, 1e-3));
  for (const char* name : {"loss_scale", "skipped_steps"}) {
    const auto values = logged(device, name), expected = logged(host, name);
    BOOST_TEST((runtime().rank() != 0 || values.size() == 10u));
    BOOST_TEST(values == expected, boost::test_tools::per_element());
  }
}

// Whatever needs a value on the host makes every step wait for the device.
BOOST_AUTO_TEST_CASE(a_step_does_not_synchronize) {
  struct Counted : levin::test::Toy {
    levin::Tensor training_step(const levin::Batch& batch) override {
      counts.push_back(synchronizations());
      const levin::Tensor loss = at::mse_loss(net(batch["x"]), batch["y"]);
      log("train_loss", loss, {.on_epoch = true});
      log("largest", loss, {.on_epoch = true, .reduce_fx = levin::ReduceFx::max});
      return loss;
    }
    std::vector<levin::OptimizerSpec> configure_optimizers() override { return {spec}; }
    std::vector<int64_t> counts;
  };
  std::vector<levin::StrategyConfig> strategies{levin::DDP{}, levin::Zero2{}, levin::FSDP{}};
  for (const auto& strategy : strategies) {
    for (const auto& spec : {levin::OptimizerSpec(levin::AdamW{.lr = 0.01}), levin::OptimizerSpec(levin::LAMB{.lr = 0.01})}) {
      auto config = config_on(host_memory());
      config.session.strategy = strategy;
      config.accumulate_grad_batches = 1;
      config.log_every_n_steps = 1000;
      config.max_epochs = 1;
      ToyData data;
      levin::Trainer trainer(config, runtime(), 3);
      const auto module = trainer.build<Counted>();
      module->spec = spec;
      trainer.fit(*module, data);
      BOOST_REQUIRE(module->counts.size() == 5);
      BOOST_TEST(module->counts.back() == module->counts[1]);
      BOOST_TEST(std::isfinite(trainer.session().last_grad_norm()));
      BOOST_TEST(synchronizations() > module->counts.back());
    }
  }
}

// A learning rate that falls and a total weight that grows in every step change no argument of a launch.
BOOST_AUTO_TEST_CASE(a_schedule_changes_no_launch) {
  struct Weighted : levin::test::Toy {
    levin::Tensor training_step(const levin::Batch& batch) override {
      launches.push_back(function_of_plugin<uint64_t()>("host_memory_launches")());
      begin_step();
      set_batch_weight(static_cast<double>(launches.size()));
      return at::mse_loss(net(batch["x"]), batch["y"]);
    }
    std::vector<levin::OptimizerSpec> configure_optimizers() override { return {spec}; }
    std::vector<uint64_t> launches;
  };
  for (const levin::OptimizerConfig& optimizer :
       {levin::OptimizerConfig(levin::AdamW{.lr = 0.01}), levin::OptimizerConfig(levin::Adam{.lr = 0.01}),
        levin::OptimizerConfig(levin::SGD{.lr = 0.01, .momentum = 0.9}), levin::OptimizerConfig(levin::Adagrad{.lr = 0.01})})
    for (const auto policy : {levin::NonfiniteGradients::ignore, levin::NonfiniteGradients::skip}) {
      const auto train = [&](const std::string& accelerator) {
        auto config = config_on(accelerator);
        config.session.precision = levin::Precision::float32;
        config.session.nonfinite_gradients = policy;
        config.accumulate_grad_batches = 1;
        config.log_every_n_steps = 1000;
        config.max_epochs = 1;
        ToyData data;
        levin::Trainer trainer(config, runtime(), 3);
        const auto module = trainer.build<Weighted>();
        module->spec.optimizer = optimizer;
        module->spec.lr_scheduler = levin::ExponentialLR{.gamma = 0.5, .interval = levin::Interval::step};
        trainer.fit(*module, data);
        BOOST_TEST(trainer.session().learning_rate() == 0.01 / 32, boost::test_tools::tolerance(1e-6));
        return module;
      };
      const auto device = train(host_memory());
      const auto& launches = device->launches;
      BOOST_REQUIRE(launches.size() == 5);
      BOOST_TEST(launches[3] == launches[2]);
      BOOST_TEST(launches[4] == launches[3]);
      BOOST_TEST(at::allclose(device->net->weight.cpu(), train("cpu")->net->weight, 1e-4, 1e-5));
    }
}

namespace {

// Times that the host waited for the device in each step but the last.
std::vector<int64_t> waits(const Counting& counting) {
  std::vector<int64_t> steps;
  for (size_t i = 1; i < counting.module->counts.size(); i++) steps.push_back(counting.module->counts[i] - counting.module->counts[i - 1]);
  return steps;
}

levin::TrainerConfig config_of_steps(int log_every_n_steps) {
  auto config = config_on(host_memory());
  config.accumulate_grad_batches = 1;
  config.log_every_n_steps = log_every_n_steps;
  config.max_epochs = 1;
  return config;
}

constexpr int never = 1000;

}  // namespace

BOOST_AUTO_TEST_CASE(a_custom_optimizer_waits_where_it_may_skip) {
  const auto sgd = [](Counted& module) {
    module.spec = levin::custom([](std::vector<levin::Tensor> parameters) {
      return std::make_unique<torch::optim::SGD>(parameters, torch::optim::SGDOptions(0.01).momentum(0.9));
    });
  };
  auto config = config_of_steps(1);
  ToyData data;
  const auto plain = waits(count(config, data, sgd));
  BOOST_TEST(plain == (std::vector<int64_t>{plain[0], 0, 0, 0}), boost::test_tools::per_element());
  config.session.nonfinite_gradients = levin::NonfiniteGradients::skip;
  const auto skipping = waits(count(config, data, sgd));
  BOOST_TEST(skipping == (std::vector<int64_t>{skipping[0], 1, 1, 1}), boost::test_tools::per_element());
}

// The gradients go to the host: one wait for each flat group.
BOOST_AUTO_TEST_CASE(an_offloaded_update_waits_for_its_gradients) {
  auto config = config_of_steps(1);
  config.session.strategy = levin::Zero1{{.offload_optimizer = true}};
  for (const auto policy : {levin::NonfiniteGradients::ignore, levin::NonfiniteGradients::skip}) {
    config.session.nonfinite_gradients = policy;
    ToyData data;
    const auto found = waits(count(config, data));
    const int64_t expected = policy == levin::NonfiniteGradients::skip ? 2 : 1;
    BOOST_TEST(found == (std::vector<int64_t>{found[0], expected, expected, expected}), boost::test_tools::per_element());
  }
  config.session.strategy = levin::FSDP{.sharding = {.offload_parameters = true}};
  ToyData data;
  for (const int64_t steps : waits(count(config, data))) BOOST_TEST(steps > 0);
}

// A schedule that reads values after every second step.
BOOST_AUTO_TEST_CASE(a_plateau_waits_in_the_steps_that_it_reads) {
  ToyData data;
  const auto found = waits(count(config_of_steps(1), data, [](Counted& module) {
    module.spec.lr_scheduler =
        levin::ReduceLROnPlateau{.monitor = "train_loss", .strict = false, .interval = levin::Interval::step, .frequency = 2};
  }));
  BOOST_REQUIRE(found.size() == 4);
  BOOST_TEST(found[1] > 0);
  BOOST_TEST(found[2] == 0);
  BOOST_TEST(found[3] > 0);
}

// What it saves after an exception has the values that the last complete step logged.
BOOST_AUTO_TEST_CASE(checkpoints_after_an_exception_wait_in_steps_that_log) {
  const levin::test::FolderOfRanks folder;
  for (const int every : {2, never}) {
    const auto steps = std::to_string(every);
    const std::vector<std::shared_ptr<levin::Callback>> callbacks{
        std::make_shared<levin::OnExceptionCheckpoint>(levin::OnExceptionCheckpointConfig{.dirpath = folder.path / steps}),
        std::make_shared<levin::ModelCheckpoint>(
            levin::ModelCheckpointConfig{.dirpath = folder.path / ("model" + steps), .every_n_epochs = 1, .save_on_exception = true})};
    for (const auto& callback : callbacks) {
      Counting counting{nullptr, std::make_unique<levin::Trainer>(config_of_steps(every), runtime(), 3)};
      counting.trainer->add_callback(callback);
      counting.module = counting.trainer->build<Counted>();
      ToyData data;
      counting.trainer->fit(*counting.module, data);
      const auto found = waits(counting);
      BOOST_REQUIRE(found.size() == 4);
      BOOST_TEST(found[2] == 0);
      BOOST_TEST((found[1] > 0) == (every == 2));
      BOOST_TEST((found[3] > 0) == (every == 2));
    }
  }
}

// Parameters, batches, constants, and what the graph makes on a device that it names. LibTorch has no convolutions for this device.
BOOST_AUTO_TEST_CASE(an_exported_model_trains_as_on_the_cpu) {
  for (const std::string name : {"gpt", "mlp", "lstm", "fourier"}) {
    const auto train = [&](const std::string& accelerator) {
      auto config = config_on(accelerator).session;
      levin::test::ExportedTraining training(name, runtime(), config, levin::AdamW{.lr = 0.01});
      const auto type = accelerator == "cpu" ? c10::kCPU : c10::kMTIA;
      for (const auto& item : training.model->named_parameters()) BOOST_TEST(bool(item.value().device().type() == type));
      const double loss = training.wide_step().item<double>();  // batch normalization needs two samples a rank
      auto state = training.state();
      for (auto& [key, tensor] : state) tensor = tensor.to(at::kCPU);
      return std::make_pair(loss, state);
    };
    const auto device = train(host_memory()), host = train("cpu");
    BOOST_TEST(std::abs(device.first - host.first) < 1e-9, name << ": " << device.first << " and " << host.first);
    BOOST_TEST(levin::test::difference(device.second, host.second, 1e-9) == "",
               name << ": " << levin::test::difference(device.second, host.second, 1e-9));
  }
}

// Devices share no memory, and yet their ranks have hosts.
BOOST_AUTO_TEST_CASE(hsdp_shards_among_the_ranks_of_a_host) {
  levin::SessionConfig config = config_on(host_memory()).session;
  config.strategy = levin::HSDP{};
  const auto topology = levin::Topology::discover(runtime());
  if (runtime().size() % topology.hosts() != 0) {  // 2 + 1
    check_throws<levin::ConfigError>([&] { levin::Session(runtime(), config); }, {"hsdp", "different numbers of ranks"});
    return;
  }
  levin::Session session(runtime(), config);
  BOOST_TEST(session.strategy().plan().shard_ranks == topology.local_size());
  if (runtime().size() > 1)
    BOOST_TEST(session.strategy().describe() ==
               fmt::format("hsdp, one copy of the parameters in parts on each {} ranks", topology.local_size()));
}

BOOST_AUTO_TEST_CASE(evaluates_and_predicts) {
  ToyData data;
  const auto device = fit(config_on(host_memory()), data), host = fit(config_on("cpu"), data);
  const auto values = device.trainer->test(*device.module, data), expected = host.trainer->test(*host.module, data);
  BOOST_TEST(values.size() == expected.size());
  const auto predictions = device.trainer->predict(*device.module, data), expected_rows = host.trainer->predict(*host.module, data);
  BOOST_REQUIRE(predictions.size() == expected_rows.size());
  for (size_t i = 0; i < predictions.size(); i++) BOOST_TEST(at::allclose(predictions[i].rows.cpu(), expected_rows[i].rows, 1e-9, 1e-12));
}

BOOST_AUTO_TEST_CASE(an_error_of_one_rank_ends_all) {
  ToyData data;
  auto config = config_on(host_memory());
  config.accumulate_grad_batches = 1;
  const bool last = runtime().rank() == runtime().size() - 1;
  try {
    fit(config, data, [&](levin::test::Toy& toy) { toy.fail_at_step = last ? 2 : -1; });
    BOOST_ERROR("nothing was thrown");
  } catch (const levin::CommunicatorAborted& aborted) {
    BOOST_TEST(!last);
    BOOST_TEST(aborted.by_rank() == runtime().size() - 1);
  } catch (const std::runtime_error& error) {
    BOOST_TEST(last);
    BOOST_TEST(error.what() == "the toy broke");
  }
}

// Collectives of a device are not compared before data move: a hash of them travels in the exchange of the step.
BOOST_AUTO_TEST_CASE(a_step_finds_ranks_whose_calls_differ) {
  if (runtime().size() == 1) return;
  const int last = runtime().size() - 1;
  for (const auto& strategy : std::vector<levin::StrategyConfig>{levin::DDP{}, levin::FSDP{}}) {
    auto config = config_on(host_memory()).session;
    config.strategy = strategy;
    levin::Session session(runtime(), config, 3);
    const auto module = session.build<Counted>();
    module->spec = levin::AdamW{.lr = 0.01};
    session.setup(*module);
    const auto step = [&] {
      const auto x = at::sin(at::arange(8, at::kDouble) + session.rank()).view({2, 4}).to(session.device());
      session.backward(module->net(x).square().mean(), 2);
      session.step();
    };
    const auto reduce = [&](const char* label) {
      const auto values = at::arange(3, at::kDouble).to(session.device());
      session.communicator().all_reduce(values, levin::ReduceOp::sum, label).wait();
    };
    reduce("unit \"a\"");
    step();
    reduce(session.rank() == last ? "unit \"b\"" : "unit \"a\"");
    check_throws<levin::CommunicatorError>(step, {"the ranks disagree: rank 0 called all_reduce number", "of 3 Double, sum for unit \"a\"",
                                                  "rank " + std::to_string(last) + " called all_reduce number", "for unit \"b\""});
  }
}

BOOST_AUTO_TEST_CASE(all_ranks_take_the_same) {
  if (runtime().size() == 1) return;
  auto config = config_on(runtime().rank() == 1 ? "cpu" : host_memory());
  check_throws<levin::ConfigError>([&] { levin::Trainer(config, runtime()); }, {"[device]", "same on all ranks", "host_memory", "cpu"});
  config = config_on(runtime().rank() == 1 ? "abacus" : "cpu");
  check_throws<levin::ConfigError>([&] { levin::Trainer(config, runtime()); }, {"\"abacus\""});
}

BOOST_AUTO_TEST_CASE(invalid_plugins_are_refused) {
  const auto refused = [](const std::string& file, const std::vector<std::string>& parts) {
    check_throws<levin::ConfigError>([&] { levin::load_plugin(file); }, parts);
  };
  const std::string ours = std::to_string(levin::plugin_interface);
  refused("/nowhere/liblevin_cuda.so", {"[device]", "/nowhere/liblevin_cuda.so", "file not found"});
  refused("abacus", {"[device]", "\"abacus\"", "liblevin_abacus.so", "choose one of: auto, cpu"});
  refused(built("liblevin_odd_interface.so"), {"liblevin_odd_interface.so", "version 4711", "this program " + ours, "same Levin"});
  refused(built("liblevin_odd_libtorch.so"), {"liblevin_odd_libtorch.so", "LibTorch 0.4", TORCH_VERSION, "build both"});
  refused(built("liblevin_odd_entry.so"), {"liblevin_odd_entry.so", "function levin_accelerator_plugin is missing"});
  const auto text = std::filesystem::temp_directory_path() / ("levin-plugin-" + std::to_string(getpid()) + ".so");
  std::ofstream(text) << "no library";
  refused(text, {text.string(), "cannot be loaded", "too short"});
  std::filesystem::remove(text);
}

BOOST_AUTO_TEST_CASE(without_a_gpu_cuda_is_an_error_and_auto_the_cpu) {
  if (levin::find_nvidia_driver().devices > 0) return;  // tests/cuda are for this
  for (const char* name : {"cuda", "gpu"})
    check_throws<levin::ConfigError>([&] { levin::AcceleratorRegistry().create(name); }, {"[device]", "accelerator cuda", "NVIDIA", "cpu"});
  BOOST_TEST(levin::AcceleratorRegistry().create("auto")->name() == "cpu");
}

BOOST_AUTO_TEST_SUITE_END()
