#include "../../jobs/gpt/gpt.h"

#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <map>

#include "../../jobs/gpt/gpt_data.h"
#include "levin/cli/yaml_reader.h"
#include "levin/core/error.h"
#include "levin/data/tensor_dataset.h"
#include "levin/trainer/trainer.h"
#include "levin_test.h"
#include "reference.h"
#include "test_paths.h"

namespace reference = levin::test::reference;
using gpt::Gpt;
using gpt::GptConfig;
using levin::Tensor;
using levin::test::check_throws;
using levin::test::runtime;

namespace {

GptConfig tiny(bool modern) {
  GptConfig config{.shape = {.layers = 2, .width = 32, .heads = 4}, .context = 16, .lr = 3e-3, .min_lr = 3e-4, .warmup = 10};
  config.shape.activation = modern ? gpt::Activation::swiglu : gpt::Activation::gelu;
  config.shape.positions = modern ? gpt::Positions::rotary : gpt::Positions::learned;
  config.shape.norm = modern ? gpt::NormKind::rms_norm : gpt::NormKind::layer_norm;
  config.shape.bias = !modern;
  return config;
}

// The reference's first weights, and every loss, times this rank's windows.
struct Followed : Gpt {
  explicit Followed(const GptConfig& config) : Gpt(config) {
    const at::NoGradGuard no_grad;
    uint64_t index = 0;
    int64_t inputs = 1;
    for (auto& item : named_parameters()) {
      const auto shape = item.value().sizes().vec();
      if (shape.size() > 1) inputs = item.value().numel() / shape[0];
      const bool norm = item.key().find("norm") != std::string::npos && item.key().ends_with(".weight");
      item.value().set_data(reference::weight(index++, shape, inputs) + (norm ? 1 : 0));
    }
  }
  Tensor training_step(const levin::Batch& batch) override {
    Tensor loss = Gpt::training_step(batch);
    sums.push_back(batch.padding() ? 0 : loss.item<double>() * static_cast<double>(batch.size()));
    return loss;
  }
  std::vector<double> sums;
};

struct Windows : levin::DataModule {
  levin::DataLoaderSpec train_dataloader() override {
    std::vector<int64_t> text;
    for (int64_t i = 0; i <= 32 * 16; i++) text.push_back(reference::token(i));
    const Tensor tokens = at::tensor(text, at::kLong);
    return {std::shared_ptr<levin::TensorDataset>(new levin::TensorDataset{{"input", tokens.narrow(0, 0, 512).view({32, 16})},
                                                                           {"target", tokens.narrow(0, 1, 512).view({32, 16})}}),
            {.global_batch_size = 4, .shuffle = false}};
  }
};

// A file of jobs/gpt/configs.
struct Size {
  GptConfig model;
  gpt::GptDataConfig data;
};
LEVIN_CONFIG(Size, (model, ""), (data, ""))

std::vector<double> losses_of(const GptConfig& config, levin::Precision precision, int64_t steps) {
  levin::TrainerConfig options;
  options.session.precision = precision;
  options.session.num_threads = 1;
  options.max_steps = steps;
  levin::Trainer trainer(options, runtime());
  Windows data;
  const auto model = trainer.build<Followed>(config);
  // The schedule is as long as the recorded training.
  if (steps < 50)
    trainer.replace_optimizer({},
                              levin::LrSchedulerConfig(levin::CosineAnnealingLR{.T_max = 40, .eta_min = 3e-4, .warmup = {.warmup = 10}}));
  trainer.fit(*model, data);
  const Tensor sums = at::tensor(model->sums, at::kDouble);
  trainer.session().communicator().all_reduce(sums).wait();
  std::vector<double> losses;
  for (int64_t i = 0; i < sums.numel(); i++) losses.push_back(sums[i].item<double>() / 4);
  return losses;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(jobs_gpt)

BOOST_AUTO_TEST_CASE(follows_pytorch) {
  for (const bool modern : {false, true}) {
    const auto recorded = reference::record(modern ? "gpt_swiglu" : "gpt_gelu");
    BOOST_TEST_CONTEXT("modern: " << modern) {
      const auto exact = losses_of(tiny(modern), levin::Precision::float64, 50);
      BOOST_REQUIRE(exact.size() == 50);
      BOOST_REQUIRE(recorded.losses64.size() == 50);
      for (size_t i = 0; i < exact.size(); i++) BOOST_TEST(std::abs(exact[i] - recorded.losses64[i]) < 1e-9);
      BOOST_TEST(exact.back() < exact.front() - 1);
      const auto single = losses_of(tiny(modern), levin::Precision::float32, 10);
      BOOST_REQUIRE(single.size() == recorded.losses32.size());
      for (size_t i = 0; i < single.size(); i++) BOOST_TEST(std::abs(single[i] - recorded.losses32[i]) < 1e-4);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(jobs_gpt_model)

BOOST_AUTO_TEST_CASE(parameters_are_counted_without_making_them) {
  for (const bool modern : {false, true})
    for (const bool bias : {false, true}) {
      GptConfig config = tiny(modern);
      config.shape.bias = bias;
      config.vocabulary = 300;
      int64_t count = 0;
      for (const auto& parameter : Gpt(config).parameters()) count += parameter.numel();
      BOOST_TEST(Gpt::parameters_of(config) == count);
    }
}

BOOST_AUTO_TEST_CASE(sizes_have_as_many_parameters_as_their_names_say) {
  const std::map<std::string, double> names{{"1m", 1e6}, {"25m", 25e6}, {"125m", 125e6}, {"350m", 350e6}, {"1.3b", 1.3e9}, {"7b", 7e9}};
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(LEVIN_TESTS) + "/../jobs/gpt/configs")) {
    Size size;
    levin::read_config(size, levin::load_yaml(entry.path()));
    BOOST_TEST_CONTEXT(entry.path()) {
      const double named = names.at(entry.path().stem().string());
      BOOST_TEST(static_cast<double>(Gpt::parameters_of(size.model)) == named, boost::test_tools::tolerance(0.025));
      BOOST_TEST(size.data.context >= 128);
    }
    files++;
  }
  BOOST_TEST(files == names.size());
  // One that is small enough to be made.
  Size size;
  levin::read_config(size, levin::load_yaml(std::string(LEVIN_TESTS) + "/../jobs/gpt/configs/1m.yaml"));
  int64_t count = 0;
  for (const auto& parameter : Gpt(size.model).parameters()) count += parameter.numel();
  BOOST_TEST(count == Gpt::parameters_of(size.model));
}

BOOST_AUTO_TEST_CASE(blocks_are_units_made_one_after_the_other) {
  struct Watch : levin::BuildContext {
    void adopt(const std::shared_ptr<levin::UnitBase>& unit) override {
      adopted++;
      for (const auto& parameter : unit->parameters()) numel += parameter.numel();
    }
    int adopted = 0;
    int64_t numel = 0;
  } watch;
  const GptConfig config = tiny(false);
  const Gpt model(config);
  BOOST_TEST(watch.adopted == 2);
  BOOST_TEST(watch.numel == Gpt::parameters_of(config) - (256 + 16 + 2) * 32);  // the root has embeddings and the last norm
}

BOOST_AUTO_TEST_CASE(a_token_sees_those_before_it_alone) {
  at::manual_seed(1);
  for (const bool modern : {false, true}) {
    Gpt model(tiny(modern));
    model.to(at::kDouble);
    model.eval();
    const at::NoGradGuard no_grad;
    Tensor tokens = at::tensor({1, 2, 3, 4, 5, 6, 7, 8}, at::kLong).unsqueeze(0);
    const Tensor before = model.forward(tokens);
    BOOST_TEST(before.scalar_type() == at::kDouble);
    tokens = tokens.clone();
    tokens[0][5] = 200;
    const Tensor change = (model.forward(tokens) - before).abs().amax({0, 2});
    for (int64_t i = 0; i < 8; i++) BOOST_TEST((change[i].item<double>() > 1e-9) == (i >= 5));
    // Where a token stands matters: the same token after the same ones.
    const Tensor same = model.forward(at::tensor({9, 9, 9, 9}, at::kLong).unsqueeze(0));
    BOOST_TEST((same[0][3] - same[0][1]).abs().max().item<double>() > (modern ? -1 : 1e-6));
    check_throws<levin::DataError>([&] { model.forward(at::tensor(std::vector<int64_t>(17)).unsqueeze(0)); },
                                   {"17 tokens", "context of 16"});
  }
}

BOOST_AUTO_TEST_CASE(heads_must_fit_the_width) {
  GptConfig config = tiny(true);
  config.shape.heads = 5;
  check_throws<levin::ConfigError>([&] { levin::check_config(config); }, {"width is 32", "heads is 5"});
  config.shape.heads = 32;
  check_throws<levin::ConfigError>([&] { levin::check_config(config); }, {"a head is 1 wide", "learned"});
}

BOOST_AUTO_TEST_CASE(draws_depend_on_the_seed_and_the_number_alone) {
  const gpt::SamplingConfig how{.tokens = 12, .temperature = 1, .top_k = 0};
  const auto uniform = [](const Tensor& tokens) { return at::zeros({tokens.size(0), tokens.size(1), 50}, at::kFloat); };
  const Tensor input = at::tensor({1, 2, 0, 3, 4, 5}, at::kLong).view({2, 3}), length = at::tensor({2, 3}, at::kLong);
  const Tensor both = gpt::sample(input, length, {7, 8}, 4, 1, how, uniform);
  BOOST_TEST((both.sizes() == at::IntArrayRef{2, 15}));
  BOOST_TEST(both[0][14].item<int64_t>() == -1);  // the shorter one
  BOOST_TEST(both[0][13].item<int64_t>() >= 0);
  const Tensor alone = gpt::sample(input.narrow(0, 1, 1), length.narrow(0, 1, 1), {8}, 4, 1, how, uniform);
  BOOST_TEST(at::equal(alone[0], both[1]));
  BOOST_TEST(!at::equal(gpt::sample(input, length, {7, 8}, 4, 2, how, uniform), both));
  BOOST_TEST(!at::equal(gpt::sample(input, length, {9, 8}, 4, 1, how, uniform)[0], both[0]));
  // The likeliest; and the two likeliest, both of which come.
  const auto rising = [](const Tensor& tokens) { return at::arange(50, at::kFloat).mul(0.1).expand({tokens.size(0), tokens.size(1), 50}); };
  for (const auto& config : {gpt::SamplingConfig{.tokens = 40, .temperature = 0}, gpt::SamplingConfig{.tokens = 40, .top_k = 1}})
    BOOST_TEST(gpt::sample(input, length, {7, 8}, 4, 1, config, rising)[1].narrow(0, 3, 40).min().item<int64_t>() == 49);
  const Tensor two = gpt::sample(input, length, {7, 8}, 4, 1, {.tokens = 40, .top_k = 2}, rising)[1].narrow(0, 3, 40);
  BOOST_TEST(two.min().item<int64_t>() == 48);
  BOOST_TEST(two.max().item<int64_t>() == 49);
}

// What a window shows: the last tokens of each text, and the place of the newest one in it.
BOOST_AUTO_TEST_CASE(a_text_longer_than_the_context_is_seen_by_its_end) {
  const auto next = [](const Tensor& tokens) {  // the token after the one seen
    BOOST_TEST(tokens.size(1) <= 4);
    return at::one_hot((tokens + 1).remainder(50), 50).to(at::kFloat) * 100;
  };
  const Tensor input = at::tensor({1, 2, 3, 4, 5, 6, 30, 0, 0, 0, 0, 0}, at::kLong).view({2, 6});
  const Tensor sampled = gpt::sample(input, at::tensor({6, 1}, at::kLong), {0, 1}, 4, 1, {.tokens = 5}, next);
  for (int64_t i = 0; i < 5; i++) {
    BOOST_TEST(sampled[0][6 + i].item<int64_t>() == 7 + i);
    BOOST_TEST(sampled[1][1 + i].item<int64_t>() == 31 + i);
  }
}

BOOST_AUTO_TEST_CASE(texts_of_all_ranks_are_gathered) {
  const auto communicator = levin::Communicator::create_cpu(runtime());
  const int rank = communicator->rank(), size = communicator->size();
  std::map<int64_t, std::string> mine{{rank, "text " + std::to_string(rank) + std::string(static_cast<size_t>(rank), '\xFF')}};
  if (rank == size - 1) mine[size + 3] = "last";
  const auto all = gpt::gather_texts(mine, *communicator);
  BOOST_TEST(std::ssize(all) == size + 1);
  for (int i = 0; i < size; i++) BOOST_TEST(all.at(i) == "text " + std::to_string(i) + std::string(static_cast<size_t>(i), '\xFF'));
  BOOST_TEST(all.at(size + 3) == "last");
  BOOST_TEST(gpt::gather_texts({}, *communicator).empty());
}

BOOST_AUTO_TEST_SUITE_END()
