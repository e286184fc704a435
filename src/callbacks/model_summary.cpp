#include "levin/callbacks/model_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "flop_counter.h"
#include "levin/callbacks/throughput_monitor.h"
#include "levin/core/memory.h"
#include "levin/core/text.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"

namespace levin {
namespace {

// "torch::nn::LinearImpl" and "(anonymous namespace)::Block" are printed as Linear and Block.
std::string short_name(const std::string& type_name) {
  std::string name = unqualified(type_name);
  if (name.size() > 4 && name.ends_with("Impl")) name.resize(name.size() - 4);
  return name;
}

std::string count(int64_t number) {
  if (number < 1000) return std::to_string(number);
  if (number < 1'000'000) return fmt::format("{:.1f} K", static_cast<double>(number) / 1e3);
  if (number < 1'000'000'000) return fmt::format("{:.1f} M", static_cast<double>(number) / 1e6);
  return fmt::format("{:.1f} B", static_cast<double>(number) / 1e9);
}

int64_t numel(const torch::nn::Module& module) {
  int64_t sum = 0;
  for (const auto& parameter : module.parameters()) sum += parameter.numel();
  return sum;
}

// Of the module's own parameters.
std::string shapes_of(const torch::nn::Module& module) {
  std::string text;
  for (const auto& parameter : module.parameters(/*recurse=*/false))
    text += fmt::format("{}[{}]", text.empty() ? "" : " ", fmt::join(parameter.sizes(), ", "));
  return text;
}

std::string flops_text(double flops) {
  const char* unit = "FLOP";
  for (const char* next : {"kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"})
    if (flops >= 999.5) flops /= 1000, unit = next;
  return fmt::format("{:.3g} {}", flops, unit);
}

void add_rows(const torch::nn::Module& module, const std::string& prefix, int64_t depth, std::vector<std::vector<std::string>>& rows) {
  if (depth == 0) return;
  for (const auto& child : module.named_children()) {
    const std::string name = prefix + child.key();
    rows.push_back({std::to_string(rows.size() - 1), name, short_name(child.value()->name()), count(numel(*child.value())),
                    shapes_of(*child.value())});
    add_rows(*child.value(), name + ".", depth - 1, rows);
  }
}

}  // namespace

std::string summarize(const Module& module, int64_t max_depth) {
  std::vector<std::vector<std::string>> rows{{"", "Name", "Type", "Params", "Shapes"}};
  add_rows(module, "", max_depth, rows);
  std::array<size_t, 5> width{};
  for (const auto& row : rows)
    for (size_t i = 0; i < width.size(); i++) width[i] = std::max(width[i], row[i].size());
  std::string table;
  for (const auto& row : rows) {
    table += fmt::format("{:>{}} | {:<{}} | {:<{}} | {:>{}} | {}\n", row[0], width[0], row[1], width[1], row[2], width[2], row[3], width[3],
                         row[4]);
    if (&row == &rows.front()) table += std::string(width[0] + width[1] + width[2] + width[3] + width[4] + 12, '-') + "\n";
  }
  int64_t total = 0, trained = 0, bytes = 0;
  for (const auto& parameter : module.parameters()) {
    total += parameter.numel();
    trained += parameter.requires_grad() ? parameter.numel() : 0;
    bytes += parameter.numel() * parameter.element_size();
  }
  return table +
         fmt::format("{} parameters, {} of them trained, {:.1f} MB", count(total), count(trained), static_cast<double>(bytes) / 1e6);
}

ModelSummary::ModelSummary(const ModelSummaryConfig& config, Print print) : config_(config), print_(std::move(print)) {
  check_config(config_);
}

ModelSummary::~ModelSummary() = default;

void ModelSummary::print(const std::string& text) { print_ ? print_(text) : trainer().session().runtime().log().info("{}", text); }

void ModelSummary::on_fit_start() {
  auto& session = trainer().session();
  counts_ = session.rank() == 0 && config_.max_depth != 0;
  if (!counts_) return;
  const auto& memory = session.strategy().memory();
  print(fmt::format("{}\nthis rank holds {} of parameters, {} of gradients, {} of optimizer state", summarize(module(), config_.max_depth),
                    bytes_text(memory.now(MemoryKind::parameters)), bytes_text(memory.now(MemoryKind::gradients)),
                    bytes_text(memory.now(MemoryKind::optimizer))));
}

void ModelSummary::on_train_batch_start(const Batch& batch, int64_t) {
  if (counts_ && !batch.padding()) counter_ = std::make_unique<detail::FlopCounter>();
}

// Of the first micro-batch, with its step.
void ModelSummary::on_train_batch_end(const Tensor&, const Batch& batch, int64_t) {
  if (!counter_) return;
  auto flops = static_cast<double>(counter_->flops());
  counter_.reset();
  counts_ = false;
  if (const auto* counts = dynamic_cast<const CountsWork*>(&module()); counts && counts->flops_per_batch(batch) > 0)
    flops = counts->flops_per_batch(batch);
  if (flops > 0) print(fmt::format("a micro-batch of {} samples takes {}, forward and backward", batch.size(), flops_text(flops)));
}

void ModelSummary::on_exception(const std::string&) { counter_.reset(); }

}  // namespace levin
