#include "levin/exported/objective_module.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/huber_loss.h>
#include <ATen/ops/l1_loss.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>

#include <array>
#include <cmath>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::Batch;
using levin::ConfigError;
using levin::DataError;
using levin::ObjectiveConfig;
using levin::Tensor;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(exported_objective_module)

namespace {

// Its outputs are tensors of the test's choice.
class FixedOutputs : public levin::ObjectiveModule {
 public:
  FixedOutputs(const ObjectiveConfig& config, Outputs outputs, const std::string& loss = {}) : outputs_(std::move(outputs)) {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : outputs_) names.push_back(name);
    set_objective(config, names, loss);
  }

 protected:
  Outputs compute(const Batch&) override { return outputs_; }

 private:
  Outputs outputs_;
};

Tensor waves(at::IntArrayRef shape) {
  int64_t values = 1;
  for (const auto size : shape) values *= size;
  return at::sin(at::arange(values, at::kDouble)).view(shape);
}

double loss_of(const std::string& loss, levin::ObjectiveModule::Outputs outputs, const Batch& batch) {
  FixedOutputs module({.loss = loss}, std::move(outputs));
  return module.training_step(batch).item<double>();
}

const Tensor four_labels = at::tensor({0, 2, 1, 2}, at::kLong);

}  // namespace

BOOST_AUTO_TEST_CASE(losses_by_name) {
  const Tensor logits = waves({4, 3}), wanted = waves({4, 3}).cos();
  const Batch batch{{"label", four_labels}, {"small", four_labels.to(at::kByte)}, {"y", wanted}};
  const double entropy = at::cross_entropy_loss(logits, four_labels).item<double>(), squares = at::mse_loss(logits, wanted).item<double>();
  const std::vector<std::pair<std::string, double>> cases{
      {"cross_entropy(out, label)", entropy},
      {"  cross_entropy( out ,label )  ", entropy},
      {"cross_entropy(out, small)", entropy},
      {"cross_entropy(out, label, label_smoothing=0.1)", at::cross_entropy_loss(logits, four_labels, {}, 1, -100, 0.1).item<double>()},
      {"mse(out, y)", squares},
      {"l1(out, y)", at::l1_loss(logits, wanted).item<double>()},
      {"huber(out, y, delta=0.5)", at::huber_loss(logits, wanted, 1, 0.5).item<double>()},
      {"0.5 * mse(out, y) + 2e-1*cross_entropy(out, label)", 0.5 * squares + 0.2 * entropy},
      {"-1*mse(out, y)+mse(out, y)", 0},
      {"nll(log, label)", entropy},
      {"mse(out, log)", at::mse_loss(logits, at::log_softmax(logits, 1)).item<double>()},  // two outputs
      {"total", 7},
  };
  for (const auto& [text, expected] : cases) BOOST_TEST_CONTEXT(text)
  BOOST_TEST(loss_of(text, {{"out", logits}, {"log", at::log_softmax(logits, 1)}, {"total", at::tensor(7.0)}}, batch) == expected,
             boost::test_tools::tolerance(1e-12));
  const Tensor bits = four_labels.gt(0), scores = waves({4});
  const double logistic = loss_of("bce_with_logits(out, bits)", {{"out", scores}}, {{"bits", bits}});
  BOOST_TEST(logistic == loss_of("bce(out, bits)", {{"out", scores.sigmoid()}}, {{"bits", bits}}), boost::test_tools::tolerance(1e-12));
}

// In mixed precision an output has 16 bits, its target more.
BOOST_AUTO_TEST_CASE(targets_are_not_rounded_to_the_dtype_of_the_output) {
  const Tensor values = at::tensor({1000.0, -3.0}), wanted = at::tensor({1013.25, 70000.0});
  const Tensor chances = at::tensor({0.25, 0.75}), wanted_chances = at::tensor({0.3, 0.1});
  const Batch batch{{"y", wanted.to(at::kFloat)},
                    {"whole", wanted.to(at::kInt)},
                    {"chance", wanted_chances.to(at::kFloat)},
                    {"double", wanted_chances}};  // float64
  const auto mean = [](const Tensor& losses) { return losses.mean().item<double>(); };
  const auto entropy = [&](const Tensor& p) { return mean(-(wanted_chances * p.log() + (1 - wanted_chances) * (1 - p).log())); };
  const Tensor difference = values - wanted, of_whole = values - wanted.trunc();
  const std::vector<std::pair<std::string, double>> cases{
      {"mse(out, y)", mean(difference.square())},
      {"mse(out, whole)", mean(of_whole.square())},
      {"l1(out, y)", mean(difference.abs())},
      {"smooth_l1(out, y)", mean(difference.abs() - 0.5)},
      {"huber(out, y, delta=2)", mean(2 * (difference.abs() - 1))},
      {"bce(p, chance)", entropy(chances)},
      {"bce(p, double)", entropy(chances)},
      {"bce_with_logits(p, chance)", entropy(chances.sigmoid())},
  };
  for (const auto dtype : {at::kBFloat16, at::kHalf})
    for (const auto& [text, expected] : cases) BOOST_TEST_CONTEXT(text << " of " << c10::toString(dtype))
  BOOST_TEST(loss_of(text, {{"out", values.to(dtype)}, {"p", chances.to(dtype)}}, batch) == expected, boost::test_tools::tolerance(1e-5));
  const Tensor output = values.to(at::kBFloat16).requires_grad_();
  FixedOutputs module({.loss = "mse(out, y)"}, {{"out", output}});
  module.training_step(batch).backward();
  BOOST_TEST(output.grad()[0].item<double>() == -13.25);
}

BOOST_AUTO_TEST_CASE(labels_that_do_not_count) {
  const Tensor logits = waves({4, 3}), labels = at::tensor({0, -1, 1, -1}, at::kLong);
  const Batch batch{{"label", labels}};
  FixedOutputs module({.loss = "cross_entropy(out, label, ignore_index=-1)"}, {{"out", logits}});
  const double loss = module.training_step(batch).item<double>();
  BOOST_TEST(loss == at::cross_entropy_loss(logits, labels, {}, 1, -1).item<double>(), boost::test_tools::tolerance(1e-12));
  BOOST_TEST(module.weight_of(batch) == 2);
  module.begin_batch();
  BOOST_TEST(module.training_step({{"label", at::full_like(labels, -1)}}).item<double>() == 0);  // not NaN
  BOOST_TEST(module.weight_of(batch) == 0);
}

// Where PyTorch would broadcast or misread, there is an error.
BOOST_AUTO_TEST_CASE(shapes_of_targets) {
  const Tensor column = waves({4, 1});
  BOOST_TEST(loss_of("mse(out, y)", {{"out", column}}, {{"y", column.squeeze(1)}}) == 0);
  check_throws<DataError>([&] { loss_of("mse(out, y)", {{"out", waves({4, 4})}}, {{"y", waves({4})}}); }, {"output [4, 4]", "target [4]"});
  check_throws<DataError>([&] { loss_of("mse(out, y)", {{"out", waves({2, 6})}}, {{"y", waves({4, 3})}}); }, {"output [2, 6]"});
  check_throws<DataError>(
      [&] {
        loss_of("cross_entropy(out, y)", {{"out", waves({4, 3})}}, {{"y", waves({4})}});
      },
      {"[4, 3]", "[4] Double"});
  check_throws<DataError>([&] { loss_of("cross_entropy(out, y)", {{"out", waves({3, 3})}}, {{"y", four_labels}}); }, {"[3, 3]", "[4]"});
  const Tensor tokens = waves({2, 5, 3}), targets = at::arange(10).remainder(3).view({2, 5});
  const double expected = at::cross_entropy_loss(tokens.flatten(0, 1), targets.flatten()).item<double>();
  BOOST_TEST(loss_of("cross_entropy(out, y)", {{"out", tokens}}, {{"y", targets}}) == expected, boost::test_tools::tolerance(1e-12));
  BOOST_TEST(loss_of("cross_entropy(out, y)", {{"out", tokens.transpose(1, 2)}}, {{"y", targets}}) == expected,
             boost::test_tools::tolerance(1e-12));
  const Tensor square = waves({2, 3, 3}), labels = at::arange(6).remainder(3).view({2, 3});
  check_throws<DataError>([&] { loss_of("cross_entropy(out, y)", {{"out", square}}, {{"y", labels}}); }, {"dimension 1 or 2", "class_dim"});
  BOOST_TEST(loss_of("cross_entropy(out, y, class_dim=-1)", {{"out", square}}, {{"y", labels}}) ==
                 at::cross_entropy_loss(square.flatten(0, 1), labels.flatten()).item<double>(),
             boost::test_tools::tolerance(1e-12));
}

BOOST_AUTO_TEST_CASE(metrics_by_name) {
  const Tensor scores = at::tensor({3., 1., 2., 1., 2., 3., 9., 8., 7., 1., 2., 3.}).view({4, 3});
  FixedOutputs module(
      {.loss = "cross_entropy(out, label)",
       .metrics = {{"acc", "accuracy(out, label)"}, {"top2", "accuracy(out, label, top_k=2)"}, {"entropy", "cross_entropy(out, label)"}}},
      {{"out", scores}});
  BOOST_REQUIRE(module.metrics().size() == 2);
  for (int i = 0; i < 2; i++) module.validation_step({{"label", four_labels}});
  BOOST_TEST(module.metrics()[0].first == "acc");
  BOOST_TEST(module.metrics()[0].second->compute().item<double>() == 0.75);
  BOOST_TEST(module.metrics()[1].second->compute().item<double>() == 1);
}

// Argmax: 0, 2, 0, 2; labels: 0, 2, 1, 2.
BOOST_AUTO_TEST_CASE(metrics_of_the_registry) {
  const Tensor scores = at::tensor({3., 1., 2., 1., 2., 3., 9., 8., 7., 1., 2., 3.}).view({4, 3});
  const Tensor chances = at::tensor({0.9, 0.2, 0.6, 0.1}).view({4, 1}), flags = at::tensor({1, 0, 0, 1}, at::kLong);
  const auto value_of = [&](const std::string& metric) {
    FixedOutputs module({.metrics = {{"m", metric}}}, {{"out", scores}, {"p", chances}, {"tokens", scores.view({2, 2, 3})}});
    module.validation_step({{"label", four_labels},
                            {"some", at::tensor({0, 2, -100, 2}, at::kLong)},
                            {"flags", flags},
                            {"y", flags.to(at::kDouble)},
                            {"words", four_labels.view({2, 2})}});
    BOOST_REQUIRE(module.metrics().size() == 1);
    return module.metrics()[0].second->compute().item<double>();
  };
  const auto close = boost::test_tools::tolerance(1e-12);
  BOOST_TEST(value_of("accuracy(out, label, num_classes=3, average=macro)") == 2. / 3, close);
  BOOST_TEST(value_of("f1(out, label, num_classes=3, average=macro)") == (2. / 3 + 0 + 1) / 3, close);
  BOOST_TEST(value_of("accuracy(out, some, ignore_index=-100)") == 1);
  BOOST_TEST(value_of("accuracy(tokens, words, class_dim=-1)") == 0.75);
  BOOST_TEST(value_of("recall(p, flags, task=binary)") == 0.5);
  BOOST_TEST(value_of("precision(p, flags, task=binary, threshold=0.7)") == 1);
  BOOST_TEST(value_of("auroc(p, flags, task=binary)") == 0.5);
  BOOST_TEST(value_of("mae(p, y)") == (0.1 + 0.2 + 0.6 + 0.9) / 4, close);
  BOOST_TEST(value_of("perplexity(tokens, words, class_dim=-1)") == std::exp(at::cross_entropy_loss(scores, four_labels).item<double>()),
             boost::test_tools::tolerance(1e-6));
  check_throws<DataError>([&] { value_of("accuracy(out, y)"); }, {"labels", "Double"});
  check_throws<DataError>([&] { value_of("mae(out, y)"); }, {"[4, 3]", "[4]"});
  check_throws<DataError>([&] { value_of("accuracy(out, some)"); }, {"1 labels", "ignore_index"});
}

BOOST_AUTO_TEST_CASE(predictions) {
  const Tensor logits = waves({4, 3});
  const Batch batch{{"label", four_labels}};
  const auto predicted = [&](const std::string& predict, const std::string& loss = "") {
    return FixedOutputs({.loss = "mse(out, y)", .predict = predict}, {{"out", logits}, {"a_loss", at::scalar_tensor(1.0)}}, loss)
        .predict_step(batch);
  };
  BOOST_TEST(at::equal(predicted("", "a_loss"), logits));  // the first that is not the loss
  BOOST_TEST(at::equal(predicted("out"), logits));
  BOOST_TEST(at::equal(predicted("softmax(out)"), at::softmax(logits, 1)));
  BOOST_TEST(at::equal(predicted("argmax(out)"), logits.argmax(1)));
  check_throws<ConfigError>([&] { predicted("a_loss"); }, {"\"a_loss\" has the shape []", "4 samples"});
  check_throws<ConfigError>(
      [&] {
        FixedOutputs({}, {{"loss", at::scalar_tensor(1.0)}}, "loss").predict_step(batch);
      },
      {"model.predict", "loss"});
}

// Loss, and what the message says.
BOOST_AUTO_TEST_CASE(expressions_that_are_refused) {
  const std::vector<std::array<std::string, 2>> losses{
      {"cross_entropi(out, label)", "did you mean cross_entropy?"},
      {"out(label)", "\"out\" is not a function; name one of: bce, bce_with_logits, cross_entropy"},
      {"cross_entropy(ot, label)", "has no output \"ot\"; did you mean out? There are: other, out"},
      {"label", "has no output \"label\"; name one of: other, out"},
      {"mse(out)", "mse has 1 arguments, not 2"},
      {"mse(out, y, z)", "mse has 3 arguments, not 2"},
      {"mse(out, y, beta=1)", "mse has no option \"beta\""},
      {"cross_entropy(out, label, smoothing=1)", "label_smoothing"},
      {"cross_entropy(out, label, label_smoothing=x)", "no number at byte 43"},
      {"cross_entropy(out, label, label_smoothing=0x1)", "no ) after the arguments"},
      {"cross_entropy(out, label_smoothing=0.1, label)", "a name after an option"},
      {"huber(out, y, delta=1, delta=2)", "\"delta\" twice"},
      {"mse(out, y", "no ) after the arguments"},
      {"mse(out, y))", "unexpected \")\""},
      {"mse(out, y) mse(out, y)", "unexpected \"m\""},
      {"mse(out,, y)", "no name at byte 9"},
      {"mse()", "no name at byte 5"},
      {"2 mse(out, y)", "no * after a factor"},
      {"1e999 * mse(out, y)", "no number"},
      {"mse(out, y) +", "no name at byte 14"},
      {" ", "no name"},
      {"mse(out, 'y')", "no name"},
      {"mse(out - y, y)", "no ) after"},
      {std::string("mse(out, y)\0", 12), "unexpected"},
  };
  for (const auto& [text, message] : losses) BOOST_TEST_CONTEXT(text)
  check_throws<ConfigError>(
      [&] {
        FixedOutputs({.loss = text}, {{"out", waves({4})}, {"other", waves({4})}});
      },
      {"model.loss is ", message});
  const auto with_metric = [](const std::string& name, const std::string& metric) {
    FixedOutputs({.metrics = {{name, metric}}}, {{"out", waves({4})}});
  };
  check_throws<ConfigError>([&] { with_metric("acc", "acuracy(out, y)"); }, {"model.metrics.acc is", "did you mean accuracy?"});
  check_throws<ConfigError>([&] { with_metric("acc", "accuracy(y, out)"); }, {"has no output \"y\""});
  check_throws<ConfigError>([&] { with_metric("acc", "accuracy(out, y, top_k=0)"); }, {"top_k is 0"});
  check_throws<ConfigError>([&] { with_metric("acc", "accuracy(out, y, top_k=1.5)"); }, {"top_k is 1.5, not an integer"});
  check_throws<ConfigError>([&] { with_metric("acc", "accuracy(out, y, top_k=1e300)"); }, {"top_k is 1e+300, not an integer"});
  check_throws<ConfigError>([&] { with_metric("acc", "2 * accuracy(out, y)"); }, {"has no factor"});
  check_throws<ConfigError>([&] { with_metric("acc", "accuracy(out, y, averge=macro)"); },
                            {"no option \"averge\"", "did you mean average?"});
  check_throws<ConfigError>([&] { with_metric("f", "f1(out, y, average=macro)"); }, {"model.metrics.f is", "num_classes"});
  check_throws<ConfigError>([&] { with_metric("f", "f1(out, y, num_classes=3, average=none)"); }, {"model.metrics.f is", "not one number"});
  check_throws<ConfigError>([&] { with_metric("area", "auroc(out, y, task=binry)"); }, {"model.metrics.area is", "binry"});
  check_throws<ConfigError>([&] { with_metric("m", "confusion_matrix(out, y)"); }, {"\"confusion_matrix\" is not a function"});
  check_throws<ConfigError>([&] { with_metric("m", "accuracy(out, y, class_dim=last)"); }, {"no number at byte 28"});
  check_throws<ConfigError>([&] { with_metric("loss", "mse(out, y)"); }, {"\"loss\" is not a name for a metric"});
  check_throws<ConfigError>(
      [] {
        FixedOutputs({.predict = "softmx(out)"}, {{"out", waves({4})}});
      },
      {"model.predict", "did you mean softmax?"});
  check_throws<ConfigError>(
      [] {
        FixedOutputs({}, {{"out", waves({4})}}).configure_optimizers();
      },
      {"model.loss is empty", "cross_entropy(out, label)"});
  check_throws<ConfigError>(
      [] {
        loss_of("mse(out, z)", {{"out", waves({4})}}, {{"x", waves({4})}, {"y", waves({4})}});
      },
      {"model.loss names \"z\"", "has: x, y"});
  check_throws<ConfigError>(
      [] {
        loss_of("out", {{"out", waves({4})}}, {{"x", waves({4})}});
      },
      {"\"out\" has the shape [4]", "a loss is one number"});
}

BOOST_AUTO_TEST_CASE(rules_of_a_config) {
  ObjectiveConfig config{.loss = "mse(out, y)"};
  levin::read_config(config, levin::ConfigValue::at_path({"rules"}, levin::ConfigValue::sequence()));
  config.rules = {{.pattern = "*.bias", .weight_decay = 0}};
  FixedOutputs module(config, {{"out", waves({4})}});
  const auto specs = module.configure_optimizers();
  BOOST_REQUIRE(specs.size() == 1);
  BOOST_TEST(levin::options_for(specs[0], "layers.0.bias").weight_decay == 0);
  BOOST_TEST(levin::options_for(specs[0], "layers.0.weight").weight_decay == 0.01);
}

BOOST_AUTO_TEST_SUITE_END()
