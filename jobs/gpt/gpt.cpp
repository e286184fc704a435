#include "gpt.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

#include <fstream>
#include <numbers>

#include "levin/core/error.h"
#include "levin/core/text.h"
#include "levin/trainer/trainer.h"

namespace gpt {

using levin::Batch;

Gpt::Gpt(const GptConfig& config) : config_(config), norm_(config.shape) {
  constexpr double deviation = 0.02;
  const auto& shape = config_.shape;
  tokens_ = register_parameter("tokens", at::empty({config_.vocabulary, shape.width}).normal_(0, deviation));
  if (shape.positions == Positions::learned)
    places_ = register_parameter("places", at::empty({config_.context, shape.width}).normal_(0, deviation));
  register_module("blocks", blocks_);
  for (int64_t i = 0; i < shape.layers; i++) blocks_->push_back(Block(shape));  // a strategy may take each before the next one is made
  register_module("norm", norm_);
}

Tensor Gpt::forward(const Tensor& tokens) {
  const auto& shape = config_.shape;
  const int64_t length = tokens.size(1);
  if (length > config_.context)
    throw levin::DataError(fmt::format("a window has {} tokens, and the model a context of {}", length, config_.context),
                           "cut shorter windows, or give a longer context", "gpt");
  Tensor x = at::embedding(tokens_, tokens), angles;
  if (places_.defined())
    x = x + places_.narrow(0, 0, length);
  else
    angles = rotary_angles(length, shape.head_width(), x.options().requires_grad(false));
  x = at::dropout(x, shape.dropout, is_training());
  for (const auto& block : *blocks_) x = block->as<BlockImpl>()->forward(x, angles);
  return at::linear(norm_(x), tokens_);
}

Tensor Gpt::loss(const Batch& batch) { return at::cross_entropy_loss(forward(batch["input"]).flatten(0, 1), batch["target"].flatten()); }

Tensor Gpt::training_step(const Batch& batch) {
  Tensor loss = this->loss(batch);
  log("train_loss", loss, {.prog_bar = true});
  return loss;
}

void Gpt::evaluate(const char* stage, const Batch& batch) {
  const Tensor loss = this->loss(batch);
  log(fmt::format("{}_loss", stage), loss, {.prog_bar = true});
  log(fmt::format("{}_bits_per_byte", stage), loss / std::numbers::ln2);
}

void Gpt::validation_step(const Batch& batch) { evaluate("val", batch); }
void Gpt::test_step(const Batch& batch) { evaluate("test", batch); }

Tensor Gpt::predict_step(const Batch& batch) {
  const auto logits = [this](const Tensor& tokens) { return forward(tokens); };
  // A padding batch has samples of some numbers; its texts are made like any other's, and forgotten.
  const auto numbers = batch.padding() ? std::vector<int64_t>(static_cast<size_t>(batch.size())) : batch.indices();
  Tensor rows = sample(batch["input"], batch["length"], numbers, config_.context, trainer().session().seed(), config_.sampling, logits);
  if (batch.padding()) return rows;
  const Tensor host = rows.to(at::kCPU);
  for (int64_t row = 0; row < host.size(0); row++) texts_[numbers[static_cast<size_t>(row)]] = text_of(host[row]);
  return rows;
}

void Gpt::on_predict_end() {
  const auto texts = gather_texts(texts_, trainer().session().communicator().cpu());
  if (trainer().session().rank() != 0) return;
  const auto& log = trainer().session().runtime().log();
  const auto file = trainer().default_root_dir() / "samples.txt";
  std::ofstream out;
  if (!trainer().default_root_dir().empty()) out.open(file);
  for (const auto& [number, text] : texts) {
    log.info("[gpt] sample {}: {}", number, levin::sanitized(text));
    out << "==== " << number << '\n' << text << '\n';
  }
  if (out.is_open() && !out.flush())
    throw levin::IoError(fmt::format("cannot write {}", file.string()), "see whether the file system is full", "gpt");
}

std::vector<levin::OptimizerSpec> Gpt::configure_optimizers() {
  levin::OptimizerSpec spec = levin::AdamW{.lr = config_.lr, .beta2 = config_.beta2, .weight_decay = config_.weight_decay};
  spec.rules = {{.pattern = "*norm*.weight", .weight_decay = 0}};
  if (config_.shape.bias) spec.rules.push_back({.pattern = "*bias", .weight_decay = 0});
  spec.lr_scheduler = levin::CosineAnnealingLR{.eta_min = config_.min_lr, .warmup = {.warmup = config_.warmup}};
  return {spec};
}

int64_t Gpt::parameters_of(const GptConfig& config) {
  const auto& shape = config.shape;
  const int64_t width = shape.width, hidden = shape.hidden(), inner = shape.activation == Activation::gelu ? hidden : 2 * hidden;
  const int64_t norm = shape.norm == NormKind::layer_norm && shape.bias ? 2 * width : width;
  const int64_t biases = shape.bias ? 3 * width + width + inner + width : 0;
  const int64_t block = 2 * norm + 3 * width * width + width * width + inner * width + hidden * width + biases;
  return config.vocabulary * width + (shape.positions == Positions::learned ? config.context * width : 0) + shape.layers * block + norm;
}

// Two operations a weight and token forwards, twice as many backwards; the attention's two products with all T tokens, as usual without
// regard to the causal half (Chowdhery et al., "PaLM", 2022, appendix B).
double Gpt::flops_per_batch(const Batch& batch) const {
  const auto& shape = config_.shape;
  const double tokens = items_per_batch(batch), length = static_cast<double>(batch["input"].size(1));
  const int64_t looked_up = shape.positions == Positions::learned ? config_.context * shape.width : 0;
  const auto weights = static_cast<double>(parameters_of(config_) - looked_up);
  return tokens * (6 * weights + 12 * static_cast<double>(shape.layers * shape.width) * length);
}

}  // namespace gpt
