#include "levin/exported/objective_module.h"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <algorithm>

#include "expression.h"
#include "functions.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "metrics.h"

namespace levin {
namespace {

using objective::Call;
using objective::ExpressionSource;
using objective::Term;

template <class Functions>
std::vector<std::string> function_names(const Functions& functions) {
  std::vector<std::string> names;
  names.reserve(functions.size());
  for (const auto& [name, function] : functions) names.push_back(name);
  return names;
}

// "did you mean X?", or all names.
std::string suggestion(const std::string& name, const std::vector<std::string>& names) {
  if (names.empty()) return "remove it";
  if (const auto near = nearest_name(name, names); !near.empty()) return fmt::format("did you mean {}? There are: {}", near, joined(names));
  return "name one of: " + joined(names);
}

// A call has the function's arguments and options.
template <class Functions>
void check_call(const ExpressionSource& source, const Call& call, const Functions& functions, size_t arguments) {
  const auto found = functions.find(call.function);
  if (found == functions.end())
    source.fail(fmt::format("{} is not a function", quote(call.function)), suggestion(call.function, function_names(functions)));
  if (call.arguments.size() != arguments)
    source.fail(fmt::format("{} has {} arguments, not {}", call.function, call.arguments.size(), arguments),
                arguments == 2 ? "name an output, and the tensor to compare it with" : "name an output");
  const auto& known = found->second.options;
  const auto check = [&](const std::string& option) {
    if (std::find(known.begin(), known.end(), option) == known.end())
      source.fail(fmt::format("{} has no option {}", call.function, quote(option)), suggestion(option, known));
  };
  for (const auto& [option, value] : call.options) check(option);
  for (const auto& [option, word] : call.words) check(option);
}

// Losses and transformations have no other options.
void check_numbers(const ExpressionSource& source, const Call& call) {
  if (call.words.empty()) return;
  source.fail(fmt::format("no number at byte {}", call.words.begin()->second.byte), "write OPTION=NUMBER");
}

void check_output(const ExpressionSource& source, const std::string& name, const std::vector<std::string>& outputs) {
  if (std::find(outputs.begin(), outputs.end(), name) == outputs.end())
    source.fail(fmt::format("the model has no output {}", quote(name)), suggestion(name, outputs));
}

}  // namespace

struct ObjectiveModule::Objective {
  struct NamedTerms {
    std::string name;
    ExpressionSource source;
    std::vector<Term> terms;
  };
  struct NamedMetric {
    std::string name;
    ExpressionSource source;
    Call call;
    objective::ExpressedMetric metric;
  };
  NamedTerms loss;  // no terms: nothing is minimized
  std::vector<NamedTerms> logged;
  std::vector<NamedMetric> metrics;
  std::optional<Call> predict;
  std::vector<ParameterRule> rules;
  std::vector<std::string> outputs;

  NamedTerms terms_of(std::string name, ExpressionSource source) const {
    NamedTerms made{std::move(name), std::move(source), {}};
    made.terms = objective::parse_terms(made.source);
    for (const auto& [factor, call] : made.terms) {
      if (!call.function.empty()) check_call(made.source, call, objective::loss_functions(), 2);
      check_numbers(made.source, call);
      check_output(made.source, call.arguments.front(), outputs);
    }
    return made;
  }

  // A tensor that an expression names: an output before one of the batch.
  static const Tensor& operand(const std::string& name, const Outputs& outputs, const Batch& batch, const ExpressionSource& source) {
    const auto found = outputs.find(name);
    return found != outputs.end() ? found->second : tensor_of(batch, name, source.option);
  }

  static objective::LossValue value_of(const NamedTerms& loss, const Outputs& outputs, const Batch& batch) {
    objective::LossValue sum;
    for (const auto& [factor, call] : loss.terms) {
      objective::LossValue part;
      const auto& output = operand(call.arguments.front(), outputs, batch, loss.source);
      if (call.function.empty()) {
        if (output.numel() != 1)
          throw ConfigError(fmt::format("{}: {} has the shape [{}], and a loss is one number", loss.source.option,
                                        quote(call.arguments.front()), fmt::join(output.sizes(), ", ")),
                            "name a function of it, such as cross_entropy(OUTPUT, TENSOR)");
        part.value = output.reshape({});
      } else {
        const auto& target = operand(call.arguments[1], outputs, batch, loss.source);
        part = objective::loss_functions().at(call.function).compute(output, target, call.options);
      }
      const Tensor value = factor == 1 ? part.value : part.value * factor;
      sum.value = sum.value.defined() ? sum.value + value : value;
      if (loss.terms.size() == 1) sum.weight = part.weight;  // several have no common weight but the samples
    }
    return sum;
  }
};

ObjectiveModule::ObjectiveModule() = default;
ObjectiveModule::~ObjectiveModule() = default;

const Tensor& ObjectiveModule::tensor_of(const Batch& batch, const std::string& name, const std::string& role) {
  if (batch.contains(name)) return batch[name];
  std::vector<std::string> names;
  for (const auto& [known, tensor] : batch.tensors()) names.push_back(known);
  throw ConfigError(fmt::format("{} names {}, and a batch of the data has: {}", role, quote(name), joined(names)),
                    "name a tensor of the batch there, or give it this name in data.batch");
}

void ObjectiveModule::set_objective(const ObjectiveConfig& config, const std::vector<std::string>& outputs, const std::string& loss) {
  objective_ = std::make_unique<Objective>();
  auto& objective = *objective_;
  objective.outputs = outputs;
  objective.rules = config.rules;
  if (const auto& text = config.loss.empty() ? loss : config.loss; !text.empty())
    objective.loss = objective.terms_of("loss", {"model.loss", text});
  for (const auto& [name, text] : config.metrics) {
    const ExpressionSource source{"model.metrics." + name, text};
    if (name.empty() || name == "loss") source.fail(fmt::format("{} is not a name for a metric", quote(name)), "choose another name");
    const auto terms = objective::parse_terms(source);
    if (terms.size() > 1 || !objective::metric_functions().contains(terms.front().call.function)) {
      auto known = function_names(objective::metric_functions());
      const auto losses = function_names(objective::loss_functions());
      known.insert(known.end(), losses.begin(), losses.end());
      for (const auto& term : terms)
        if (const auto& function = term.call.function; !function.empty() && !objective::loss_functions().contains(function))
          source.fail(fmt::format("{} is not a function", quote(function)), suggestion(function, known));
      objective.logged.push_back(objective.terms_of(name, source));
      continue;
    }
    const auto& [factor, call] = terms.front();
    if (factor != 1) source.fail("a metric has no factor", "remove it");
    check_call(source, call, objective::metric_functions(), 2);
    check_output(source, call.arguments.front(), outputs);
    objective.metrics.push_back({name, source, call, objective::make_metric(source, call)});
    add_metric(name, objective.metrics.back().metric.metric);
  }
  if (!config.predict.empty()) {
    const ExpressionSource source{"model.predict", config.predict};
    auto call = objective::parse_call(source);
    if (!call.function.empty()) check_call(source, call, objective::output_functions(), 1);
    check_numbers(source, call);
    check_output(source, call.arguments.front(), outputs);
    objective.predict = std::move(call);
  } else {
    for (const auto& name : outputs)
      if (name != loss && !objective.predict) objective.predict = Call{{}, {name}, {}, {}};
  }
}

Tensor ObjectiveModule::training_step(const Batch& batch) {
  const auto [value, weight] = Objective::value_of(objective_->loss, compute(batch), batch);
  if (weight) set_batch_weight(*weight);
  log("train_loss", value, {.prog_bar = true});
  return value;
}

void ObjectiveModule::evaluate(const char* stage, const Batch& batch) {
  const auto outputs = compute(batch);
  for (const auto& [name, source, call, metric] : objective_->metrics) {
    metric.update(Objective::operand(call.arguments[0], outputs, batch, source),
                  Objective::operand(call.arguments[1], outputs, batch, source));
    log(fmt::format("{}_{}", stage, name), *metric.metric, {.prog_bar = true});
  }
  const auto log_terms = [&](const Objective::NamedTerms& terms, bool prog_bar) {
    const auto [value, weight] = Objective::value_of(terms, outputs, batch);
    set_batch_weight(weight.value_or(batch.weight()));
    log(fmt::format("{}_{}", stage, terms.name), value, {.prog_bar = prog_bar});
  };
  for (const auto& terms : objective_->logged) log_terms(terms, false);
  if (!objective_->loss.terms.empty()) log_terms(objective_->loss, true);
}

Tensor ObjectiveModule::predict_step(const Batch& batch) {
  if (!objective_->predict)
    throw ConfigError(fmt::format("model.predict names no output, and the model has only {}", joined(objective_->outputs)),
                      "export an output for predictions");
  const auto outputs = compute(batch);
  const auto& [function, arguments, options, words] = *objective_->predict;
  const Tensor& output = outputs.find(arguments.front())->second;
  Tensor rows = function.empty() ? output : objective::output_functions().at(function).compute(output, options);
  if (rows.dim() == 0 || rows.size(0) != batch.size())
    throw ConfigError(fmt::format("model.predict: {} has the shape [{}], and a batch of {} samples needs a row for each",
                                  quote(arguments.front()), fmt::join(rows.sizes(), ", "), batch.size()),
                      "name an output whose first dimension is the sample");
  return rows;
}

std::vector<OptimizerSpec> ObjectiveModule::configure_optimizers() {
  if (objective_->loss.terms.empty())
    throw ConfigError("model.loss is empty, and the model names no output as its loss",
                      fmt::format("name an output or a function of one, such as cross_entropy({}, label)",
                                  objective_->outputs.empty() ? "OUTPUT" : objective_->outputs.front()));
  OptimizerSpec spec = AdamW{};
  spec.rules = objective_->rules;
  return {spec};
}

}  // namespace levin
