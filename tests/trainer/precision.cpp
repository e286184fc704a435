#include "levin/session/precision.h"

#include <ATen/autocast_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <torch/nn/modules/batchnorm.h>

#include <cmath>
#include <limits>

#include "levin/trainer/manual_optimization.h"
#include "levin_test.h"
#include "toy.h"

using levin::Batch;
using levin::Precision;
using levin::Session;
using levin::Tensor;
using levin::TrainerConfig;
using levin::test::check_throws;
using levin::test::fit;
using levin::test::runtime;
using levin::test::Toy;
using levin::test::ToyData;

BOOST_AUTO_TEST_SUITE(trainer_precision)

namespace {

const std::vector<Precision> all_precisions{Precision::float32,  Precision::float64,       Precision::float16,
                                            Precision::bfloat16, Precision::float16_mixed, Precision::bfloat16_mixed};

// Notes the dtypes in its steps.
struct Watching : Toy {
  Tensor note(const char* step, const Batch& batch) {
    const Tensor out = net(batch["x"]);
    inputs[step] = batch["x"].scalar_type(), outputs[step] = out.scalar_type();
    cache_off = cache_off && !at::autocast::is_autocast_cache_enabled();
    return out;
  }
  Tensor training_step(const Batch& batch) override {
    note("training_step", batch);
    return Toy::training_step(batch);
  }
  void validation_step(const Batch& batch) override { note("validation_step", batch); }
  void test_step(const Batch& batch) override { note("test_step", batch); }
  Tensor predict_step(const Batch& batch) override { return note("predict_step", batch); }
  std::map<std::string, at::ScalarType> inputs, outputs;
  bool cache_off = true;
};

struct AllData : ToyData {
  levin::DataLoaderSpec predict_dataloader() override { return {val, options}; }
};

TrainerConfig with(Precision precision, int64_t epochs = 1) {
  TrainerConfig config{.max_epochs = epochs, .log_every_n_steps = 1};
  config.session.precision = precision;
  return config;
}

bool autocast_as_before() {
  return !at::autocast::is_autocast_enabled(at::kCPU) && at::autocast::is_autocast_cache_enabled() &&
         at::autocast::get_autocast_dtype(at::kCPU) == at::kBFloat16;
}

// Without an operation that autocast would change: in 16-mixed all of it is fp32.
struct Plain : levin::Module {
  Plain() { weight = register_parameter("weight", at::ones({4})); }
  Tensor training_step(const Batch& batch) override {
    before.push_back(weight.detach().clone());
    const Tensor loss = loss_of(batch);
    log("loss", loss);
    return factor ? loss * factor(static_cast<int64_t>(before.size()) - 1) : loss;
  }
  void validation_step(const Batch&) override {}
  Tensor loss_of(const Batch& batch) { return ((weight * batch["x"]).sum(1, true) - batch["y"]).pow(2).mean(); }
  std::vector<levin::OptimizerSpec> configure_optimizers() override { return {levin::SGD{.lr = 0.05, .momentum = 0.9}}; }
  Tensor weight;
  std::vector<Tensor> before;  // of each batch
  std::function<double(int64_t)> factor;
};

struct PlainFit {
  std::shared_ptr<levin::Trainer> trainer;
  std::shared_ptr<Plain> module;
  std::shared_ptr<levin::test::MemoryLogger> logger = std::make_shared<levin::test::MemoryLogger>();
  std::vector<double> logged(const char* name) const {
    std::vector<double> values;
    for (const auto& row : logger->rows)
      if (const auto* value = levin::find_value(row.values, name)) values.push_back(*value);
    return values;
  }
};

PlainFit fit_plain(const TrainerConfig& config, const std::function<double(int64_t)>& factor = {}) {
  PlainFit fitted;
  fitted.trainer = std::make_shared<levin::Trainer>(config, runtime(), 5);
  fitted.module = fitted.trainer->build<Plain>();
  fitted.module->factor = factor;
  fitted.trainer->add_logger(fitted.logger);
  ToyData data;
  fitted.trainer->fit(*fitted.module, data);
  return fitted;
}

// On the last rank alone, the loss of this batch is out of all ranges.
std::function<double(int64_t)> overflow_at(int64_t bad) {
  return [bad](int64_t batch) { return batch == bad && runtime().rank() == runtime().size() - 1 ? 1e38 : 1.0; };
}

}  // namespace

BOOST_AUTO_TEST_CASE(names) {
  for (const auto& [text, precision] : std::map<std::string, Precision>{{"32-true", Precision::float32},
                                                                        {"32", Precision::float32},
                                                                        {"64-true", Precision::float64},
                                                                        {"64", Precision::float64},
                                                                        {"16-true", Precision::float16},
                                                                        {"bf16-true", Precision::bfloat16},
                                                                        {"16-mixed", Precision::float16_mixed},
                                                                        {"16", Precision::float16_mixed},
                                                                        {"bf16-mixed", Precision::bfloat16_mixed},
                                                                        {"bf16", Precision::bfloat16_mixed}}) {
    Precision read{};
    levin::config_type<Precision>().read(&read, levin::ConfigValue::scalar(text), {});
    BOOST_TEST((read == precision), text);
  }
  BOOST_TEST(levin::enum_name(Precision::bfloat16_mixed) == "bf16-mixed");
  BOOST_TEST(levin::enum_name(Precision::float32) == "32-true");
}

BOOST_AUTO_TEST_CASE(dtypes_of_every_precision) {
  for (const auto precision : all_precisions) {
    const auto parameters = levin::parameter_dtype(precision), computed = levin::autocast_dtype(precision).value_or(parameters);
    levin::Trainer trainer(with(precision), runtime(), 5);
    const auto model = trainer.build<Watching>();
    AllData data;
    trainer.fit(*model, data);
    trainer.test(*model, data);
    BOOST_TEST(trainer.predict(*model, data).size() > 0u);
    BOOST_TEST(model->outputs.size() == 4u);
    for (const auto& [step, dtype] : model->outputs)
      BOOST_TEST((dtype == computed), levin::enum_name(precision) << ", " << step << ": " << c10::toString(dtype));
    for (const auto& [step, dtype] : model->inputs) BOOST_TEST((dtype == parameters), levin::enum_name(precision) << ", " << step);
    BOOST_TEST((model->net->weight.scalar_type() == parameters));
    BOOST_TEST((model->cache_off == levin::autocast_dtype(precision).has_value()));
    BOOST_TEST(autocast_as_before());
    trainer.session().communicator().barrier();
  }
}

BOOST_AUTO_TEST_CASE(every_precision_follows_double) {
  const auto losses_of = [](Precision precision) {
    ToyData data({.global_batch_size = 8}, 40);
    auto config = with(precision, 4);
    config.session.loss_scaling.init_scale = 256;
    const auto fitted = fit(config, data, [](Toy& toy) { toy.spec = levin::AdamW{.lr = 0.05, .eps = 1e-3}; });
    BOOST_TEST(fitted.trainer->session().scaling().skipped_steps() == 0);
    fitted.trainer->session().communicator().barrier();
    return fitted.module->losses;
  };
  const auto expected = losses_of(Precision::float64);
  BOOST_TEST_REQUIRE(expected.size() == 20u);
  for (const auto precision : all_precisions) {
    const auto losses = losses_of(precision);
    double sum = 0, difference = 0;
    for (size_t i = 0; i < losses.size(); i++) sum += expected[i], difference += std::abs(losses[i] - expected[i]);
    const double tolerance = precision == Precision::float32 ? 1e-5 : precision == Precision::float64 ? 0 : 0.05;
    BOOST_TEST(difference <= tolerance * sum, levin::enum_name(precision) << ": " << difference / sum);
    BOOST_TEST((precision == Precision::float64 || difference > 0), levin::enum_name(precision));
  }
}

BOOST_AUTO_TEST_CASE(true_ones_have_no_other_dtype) {
  struct Normed : Toy {
    Normed() { norm = register_module("norm", torch::nn::BatchNorm1d(4)); }
    Tensor training_step(const Batch& batch) override { return at::mse_loss(net(norm(batch["x"])), batch["y"]); }
    torch::nn::BatchNorm1d norm{nullptr};
  };
  for (const auto precision : {Precision::float16, Precision::bfloat16}) {
    const auto dtype = levin::parameter_dtype(precision);
    levin::Trainer trainer(with(precision), runtime(), 5);
    const auto model = trainer.build<Normed>();
    model->spec = levin::AdamW{.eps = 1e-3};
    ToyData data({.global_batch_size = 12}, 36);
    trainer.fit(*model, data);
    size_t floating = 0;
    for (const auto& tensor : trainer.session().strategy().state(levin::StateUse::save)) {
      if (!at::isFloatingType(tensor.dtype)) continue;
      floating++;
      BOOST_TEST((tensor.dtype == dtype), tensor.name);
      for (const auto& part : tensor.parts) BOOST_TEST((part.values.scalar_type() == dtype), tensor.name);
    }
    BOOST_TEST(floating == 4u * 3 + 2);  // parameters with two moments each, and the statistics
    BOOST_TEST((model->norm->num_batches_tracked.scalar_type() == at::kLong));
    trainer.session().communicator().barrier();
  }
}

BOOST_AUTO_TEST_CASE(no_copy_of_a_weight_is_kept) {
  Session session(runtime(), {.precision = Precision::bfloat16_mixed});
  const auto model = session.build<Toy>();
  session.setup(*model);
  const auto copy = [&] { return at::autocast::cached_cast(at::kBFloat16, model->net->weight, at::kCPU); };
  {
    const auto autocast = session.autocast();
    const Tensor first = copy();
    BOOST_TEST((first.scalar_type() == at::kBFloat16));
    BOOST_TEST(!copy().is_same(first));
    at::autocast::set_autocast_cache_enabled(true);  // so that this test would see it
    const Tensor kept = copy();
    BOOST_TEST(copy().is_same(kept));
    at::autocast::clear_cache();
  }
  BOOST_TEST(autocast_as_before());
  session.communicator().barrier();
}

BOOST_AUTO_TEST_CASE(autocast_ends_with_an_exception) {
  levin::Trainer trainer(with(Precision::float16_mixed), runtime(), 5);
  const auto model = trainer.build<Toy>();
  bool was_on = false;
  model->in_step = [&] {
    was_on = at::autocast::is_autocast_enabled(at::kCPU);
    throw std::runtime_error("the step broke");
  };
  ToyData data;
  BOOST_CHECK_THROW(trainer.fit(*model, data), std::exception);
  BOOST_TEST(was_on);
  BOOST_TEST(autocast_as_before());
}

BOOST_AUTO_TEST_CASE(an_outer_autocast_is_restored) {
  const levin::Autocast outer(at::kCPU, at::kHalf);
  {
    const levin::Autocast inner(at::kCPU, at::kBFloat16);
    BOOST_TEST((at::autocast::get_autocast_dtype(at::kCPU) == at::kBFloat16));
    const levin::Autocast none(at::kCPU, at::kBFloat16, /*on=*/false);
    BOOST_TEST(!at::autocast::is_autocast_enabled(at::kCPU));
  }
  BOOST_TEST(at::autocast::is_autocast_enabled(at::kCPU));
  BOOST_TEST((at::autocast::get_autocast_dtype(at::kCPU) == at::kHalf));
  const levin::Autocast disabled(at::kCPU, std::nullopt);
  BOOST_TEST(at::autocast::is_autocast_enabled(at::kCPU));
}

// Scales are powers of two, so nothing but the range differs.
BOOST_AUTO_TEST_CASE(scaling_changes_no_bit) {
  for (const int64_t accumulate : {1, 2}) {
    auto config = with(Precision::float32, 3);
    config.accumulate_grad_batches = accumulate;
    config.session.gradient_clip_val = 0.5;
    const auto plain = fit_plain(config);
    config.session.precision = Precision::float16_mixed;
    config.session.loss_scaling = {.init_scale = 32, .growth_interval = 2};
    const auto scaled = fit_plain(config);
    BOOST_TEST(scaled.trainer->session().scaling().loss_scaler()->scale() > 32);
    BOOST_TEST(at::equal(plain.module->weight, scaled.module->weight));
    BOOST_TEST(!at::equal(plain.module->weight, at::ones({4})));
    BOOST_TEST(scaled.trainer->report().skipped_steps == 0);
    BOOST_TEST(plain.logged("loss_scale").empty());
    scaled.trainer->session().communicator().barrier();
  }
}

BOOST_AUTO_TEST_CASE(an_overflow_on_one_rank_is_skipped_on_all) {
  auto config = with(Precision::float16_mixed);
  config.session.loss_scaling = {.init_scale = 1024, .growth_interval = 2};
  config.session.gradient_clip_val = 1;
  const auto fitted = fit_plain(config, overflow_at(2));
  const auto& before = fitted.module->before;
  BOOST_TEST_REQUIRE(before.size() == 5u);
  BOOST_TEST(!at::equal(before[2], before[1]));
  BOOST_TEST(at::equal(before[3], before[2]));
  BOOST_TEST(!at::equal(before[4], before[3]));
  BOOST_TEST(fitted.module->weight.isfinite().all().item<bool>());
  auto& session = fitted.trainer->session();
  BOOST_TEST(session.scaling().skipped_steps() == 1);
  BOOST_TEST(session.scaling().loss_scaler()->scale() == 2048);
  BOOST_TEST(session.progress().step == 5);  // as Lightning's global_step
  BOOST_TEST(fitted.trainer->report().steps == 5);
  BOOST_TEST(fitted.trainer->report().skipped_steps == 1);
  BOOST_TEST(session.strategy().optimizer_steps(0) == 4);
  if (runtime().rank() == 0) {
    const std::vector<double> scales{1024, 2048, 1024, 1024, 2048}, skipped{0, 0, 1, 1, 1};
    BOOST_TEST(fitted.logged("loss_scale") == scales, boost::test_tools::per_element());
    BOOST_TEST(fitted.logged("skipped_steps") == skipped, boost::test_tools::per_element());
  }
  session.communicator().barrier();
}

BOOST_AUTO_TEST_CASE(loss_scaling) {
  auto config = with(Precision::float16_mixed);
  config.session.loss_scaling = {.init_scale = 512, .growth_factor = 8, .backoff_factor = 0.25, .growth_interval = 3};
  const auto fitted = fit_plain(config, overflow_at(1));
  if (runtime().rank() == 0) {
    const std::vector<double> scales{512, 128, 128, 128, 1024};
    BOOST_TEST(fitted.logged("loss_scale") == scales, boost::test_tools::per_element());
  }
  fitted.trainer->session().communicator().barrier();
}

BOOST_AUTO_TEST_CASE(gradients_that_no_scale_makes_finite_are_an_error) {
  auto config = with(Precision::float16_mixed, 20);
  config.session.loss_scaling = {.init_scale = 0x1p-20};
  const auto nan = [](int64_t) { return std::numeric_limits<double>::quiet_NaN(); };
  check_throws<levin::Error>([&] { fit_plain(config, nan); }, {"whatever the scale", "2.98e-08", "step 4", "bf16-mixed"});
}

BOOST_AUTO_TEST_CASE(nonfinite_gradients) {
  auto config = with(Precision::float32);
  const auto infinite = [](int64_t batch) {
    return batch == 2 && runtime().rank() == runtime().size() - 1 ? std::numeric_limits<double>::infinity() : 1.0;
  };
  const auto ignored = fit_plain(config, infinite);
  BOOST_TEST(!ignored.module->weight.isfinite().all().item<bool>());
  ignored.trainer->session().communicator().barrier();
  config.session.nonfinite_gradients = levin::NonfiniteGradients::skip;
  const auto skipped = fit_plain(config, infinite);
  BOOST_TEST(at::equal(skipped.module->before[3], skipped.module->before[2]));
  BOOST_TEST(!at::equal(skipped.module->before[4], skipped.module->before[3]));
  BOOST_TEST(skipped.trainer->report().skipped_steps == 1);
  skipped.trainer->session().communicator().barrier();
  config.session.nonfinite_gradients = levin::NonfiniteGradients::error;
  check_throws<levin::Error>([&] { fit_plain(config, infinite); }, {"step 2", "not finite", "detect_anomaly"});
}

// The optimizer "held" keeps the gradients of two batches while the scale changes.
BOOST_AUTO_TEST_CASE(manual_optimization_is_scaled) {
  struct Two : Plain {
    Two() { other = register_parameter("other", at::ones({4})); }
    Tensor training_step(const Batch& batch) override {
      const auto number = static_cast<int64_t>(before.size());
      before.push_back(weight.detach().clone());
      autocast_in_step = at::autocast::is_autocast_enabled(at::kCPU) || autocast_in_step;
      const auto loss = [&](const Tensor& weight) { return ((weight * batch["x"]).sum(1, true) - batch["y"]).pow(2).mean(); };
      manual_backward(loss(weight) * (number == bad ? 1e38 : 1.0) + loss(other));
      optimizer("each").step();
      if (number % 2 == 1) optimizer("held").step();
      return {};
    }
    bool automatic_optimization() const override { return false; }
    std::vector<levin::OptimizerSpec> configure_optimizers() override {
      levin::OptimizerSpec each = levin::SGD{.lr = 0.05}, held = levin::SGD{.lr = 0.05};
      each.name = "each", each.parameters = {"weight"};
      held.name = "held", held.parameters = {"other"};
      return {each, held};
    }
    Tensor other;
    int64_t bad = -1;
    bool autocast_in_step = false;
  };
  const auto train = [](const TrainerConfig& config, int64_t bad) {
    levin::Trainer trainer(config, runtime(), 5);
    const auto model = trainer.build<Two>();
    model->bad = bad;
    ToyData data({.global_batch_size = 8}, 48);
    trainer.fit(*model, data);
    BOOST_TEST(trainer.session().scaling().skipped_steps() == (bad < 0 ? 0 : 1));
    if (const auto* scaler = trainer.session().scaling().loss_scaler(); scaler && bad >= 0) BOOST_TEST(scaler->scale() == 32 * 8 / 2);
    trainer.session().communicator().barrier();
    return model;
  };
  auto config = with(Precision::float32);
  const auto plain = train(config, -1);
  BOOST_TEST(!plain->autocast_in_step);
  config.session.precision = Precision::float16_mixed;
  config.session.loss_scaling = {.init_scale = 32, .growth_interval = 2};
  const auto scaled = train(config, -1);
  BOOST_TEST(scaled->autocast_in_step);
  BOOST_TEST(at::equal(plain->weight, scaled->weight));
  BOOST_TEST(at::equal(plain->other, scaled->other));
  BOOST_TEST(!at::equal(plain->other, at::ones({4})));
  const auto skipping = train(config, 2);
  BOOST_TEST(at::equal(skipping->before[3], skipping->before[2]));
  BOOST_TEST(at::equal(skipping->other, plain->other));
}

BOOST_AUTO_TEST_CASE(own_loop_inside_autocast) {
  Session session(runtime(), {.precision = Precision::float16_mixed, .loss_scaling = {.init_scale = 128}});
  const auto model = session.build<Toy>();
  session.setup(*model);
  const Tensor before = model->net->weight.detach().clone(), x = at::ones({3, 4});
  session.communicator().barrier();
  {
    const auto autocast = session.autocast();
    session.backward(model->net(x).to(at::kFloat).mean(), 3);
    const double seed = session.size() == 1 ? 128 : 3 * 128;  // alone, the weight is the unit
    BOOST_TEST((model->net->weight.grad().scalar_type() == at::kFloat));
    BOOST_TEST(model->net->weight.grad()[0][0].item<double>() == seed, boost::test_tools::tolerance(1e-2));
    BOOST_TEST(session.reduce());
    for (const auto& [name, slice, offset] : session.gradients())
      for (int64_t i = 0; i < slice.numel(); i++) BOOST_TEST(slice[i].item<double>() == 1, boost::test_tools::tolerance(1e-2));
    session.update();
    session.zero_grad();
    session.count_step();
  }
  BOOST_TEST(!at::equal(before, model->net->weight));
  session.communicator().barrier();
}

// bf16 has no number between 256 and 258: added up in bf16, 256 + 1 + 1 would be 256.
BOOST_AUTO_TEST_CASE(sums_of_bf16_are_wide) {
  Session session(runtime(), {.precision = Precision::bfloat16});
  const auto model = session.build<Toy>();
  session.setup(*model);
  session.backward(model->net(at::full({1, 4}, session.rank() == 0 ? 256 : 1, at::kBFloat16)).mean(), 1);
  BOOST_TEST(session.reduce());
  const double mean = session.size() == 1 ? 256 : session.size() == 3 ? 86 : 128;  // 128.5 is none
  for (const auto& [name, slice, offset] : session.gradients())
    if (name == "net.weight" && session.size() <= 3)
      for (int64_t i = 0; i < slice.numel(); i++) BOOST_TEST(slice[i].item<double>() == mean);
  session.zero_grad();
  session.communicator().barrier();
}

// Weights are numbers of samples, or of tokens: fp16 has no room for so many gradients.
BOOST_AUTO_TEST_CASE(a_weight_does_not_overflow_fp16) {
  Session session(runtime(), {.precision = Precision::float16});
  const auto model = session.build<Toy>();
  session.setup(*model, {levin::SGD{.lr = 1e-4}});
  session.scaling().expect_weight(4000);
  for (int step = 0; step < 3; step++) {
    const double weight = step == 2 ? 5000 : 4000;  // from step to step it is known anyway
    session.backward(model->net(at::full({1, 4}, 100, at::kHalf)).mean(), weight);
    BOOST_TEST(model->net->weight.grad().isfinite().all().item<bool>());
    BOOST_TEST(session.reduce());
    for (const auto& [name, slice, offset] : session.gradients())  // a rank has its part
      for (int64_t i = 0; i < slice.numel(); i++)
        BOOST_TEST(slice[i].item<double>() == (name == "net.weight" ? 100 : 1), boost::test_tools::tolerance(2e-3));
    session.update();
    session.zero_grad();
    session.count_step();
  }
  session.communicator().barrier();
}

BOOST_AUTO_TEST_CASE(scaling_is_remembered) {
  const levin::SessionConfig config{.precision = Precision::float16_mixed, .loss_scaling = {.init_scale = 64, .growth_interval = 3}};
  levin::StateDict state;
  const auto step = [](Session& session, Toy& model, double factor) {
    session.backward(model.net(at::ones({1, 4})).to(at::kFloat).mean() * factor, 10);
    session.step();
  };
  Session first(runtime(), config);
  const auto model = first.build<Toy>();
  first.setup(*model);
  step(first, *model, 1), step(first, *model, 1e38), step(first, *model, 1), step(first, *model, 1);
  first.scaling().save(state);
  Session second(runtime(), config);
  const auto other = second.build<Toy>();
  second.setup(*other);
  BOOST_TEST(second.scaling().loss_scaler()->scale() == 64);
  second.scaling().load(state);
  BOOST_TEST(second.scaling().skipped_steps() == 1);
  BOOST_TEST(second.scaling().loss_scaler()->scale() == 32);
  BOOST_TEST(second.strategy().gradient_scale() == first.strategy().gradient_scale());
  step(second, *other, 1);
  BOOST_TEST(second.scaling().loss_scaler()->scale() == 64);
  second.communicator().barrier();
}

BOOST_AUTO_TEST_CASE(slow_cpus) {
  const levin::CpuFeatures old{.known = true}, newer{.known = true, .bf16 = true};
  for (const auto precision : all_precisions) {
    const bool narrow = precision != Precision::float32 && precision != Precision::float64;
    BOOST_TEST(levin::slow_because(precision, old).empty() != narrow);
    BOOST_TEST(levin::slow_because(precision, levin::CpuFeatures{}).empty());
  }
  BOOST_TEST(levin::slow_because(Precision::bfloat16_mixed, newer).empty());
  BOOST_TEST(levin::slow_because(Precision::float16_mixed, newer) == "this CPU has neither avx512_fp16 nor amx_fp16");
}

BOOST_AUTO_TEST_SUITE_END()
