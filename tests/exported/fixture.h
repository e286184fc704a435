#pragma once
// Models that make_fixtures.py exported, what eager PyTorch did with them, and trainings of them.
#include <ATen/ops/empty.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "levin/checkpoint/safetensors.h"
#include "levin/exported/exported_program.h"
#include "levin/nn/sync_batch_norm.h"
#include "levin/session/session.h"
#include "levin_test.h"
#include "test_paths.h"

namespace levin::test {

inline std::string fixture(const std::string& file) { return std::string(LEVIN_TESTS) + "/exported/fixtures/" + file; }

/// The batches of 20 steps, losses, and the state after them.
class EagerRun {
 public:
  explicit EagerRun(const std::string& model) : reader_(fixture(model + ".safetensors")) {}

  Tensor operator[](const std::string& name) const {
    const auto* entry = reader_.find(name);
    BOOST_REQUIRE_MESSAGE(entry, "the fixture has no " << name);
    const Tensor tensor = at::empty(entry->shape, entry->dtype);
    reader_.read(name, 0, entry->numel(), tensor.mutable_data_ptr());
    return tensor;
  }
  /// Samples [first, first + count) of a step; all of them by default.
  Batch batch(int64_t step, int64_t first = 0, std::optional<int64_t> count = {}) const {
    Batch batch;
    for (const auto& [name, entry] : reader_.with_prefix("batch/")) {
      const Tensor all = (*this)["batch/" + name][step];
      batch.set(name, all.narrow(0, first, count.value_or(all.sizes()[0])).clone());
    }
    return batch;
  }
  std::map<std::string, Tensor> with_prefix(const std::string& prefix) const {
    std::map<std::string, Tensor> found;
    for (const auto& [name, entry] : reader_.with_prefix(prefix)) found[name] = (*this)[prefix + name];
    return found;
  }

 private:
  SafetensorsReader reader_;
};

inline OptimizerSpec fixture_optimizer(const std::string& name) {
  if (name == "sgd") return SGD{.lr = 0.05, .momentum = 0.9, .weight_decay = 1e-3};
  return AdamW{.lr = 3e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.05};
}

using UnitPatterns = std::optional<std::vector<std::string>>;

/// A program's own loop.
class ExportedTraining {
 public:
  ExportedTraining(const std::string& name, MpiRuntime& mpi, const SessionConfig& config, const OptimizerSpec& optimizer,
                   const UnitPatterns& units = {})
      : session(mpi, config, 3), eager(name), model(session.build<ExportedProgram>(fixture(name + ".pt2"), units)) {
    session.setup(*model, {optimizer});
  }
  /// A step on the samples of a batch of the fixture's, shared among the ranks. Returns this rank's loss.
  Tensor step() {
    const int64_t number = session.progress().step % 20, ranks = session.size(), rank = session.rank();
    const int64_t samples = eager.batch(number).size(), begin = samples * rank / ranks, end = samples * (rank + 1) / ranks;
    return step(eager.batch(number, begin, end - begin));
  }
  /// A step in which each rank has a whole batch.
  Tensor wide_step() { return step(eager.batch((session.progress().step * session.size() + session.rank()) % 20)); }
  Tensor step(Batch batch) {
    session.seed_micro_batch(0);
    session.receive(batch);
    const SyncBatchNorm::Scope synchronized(session.sync_batch_norm(), *model, /*padding=*/false);
    Tensor loss;
    {
      const auto autocast = session.autocast();
      loss = model->forward(batch).at("loss");
    }
    session.backward(loss, batch.weight());
    session.step();
    return loss.detach();
  }
  void run_to(int64_t end) {
    while (session.progress().step < end) step();
  }
  double evaluate(int64_t step) {
    const at::NoGradGuard no_grad;
    model->eval();
    Batch batch = eager.batch(step);
    session.receive(batch);
    const double loss = model->forward(batch).at("loss").item<double>();
    model->train();
    return loss;
  }
  /// Parameters, and the first rank's buffers. Collective.
  std::map<std::string, Tensor> state() {
    session.strategy().broadcast_buffers();
    std::map<std::string, Tensor> found;
    session.read_parameters([&](const std::string& name, const Tensor& tensor) { found[name] = tensor.detach().clone(); });
    for (const auto& item : model->named_buffers()) found[item.key()] = item.value().detach().clone();
    return found;
  }

  Session session;
  EagerRun eager;
  std::shared_ptr<ExportedProgram> model;
};

/// The largest difference of tensors of the same names, with the name: "blocks.0.weight by 0.1"; empty where none is larger than
/// `tolerance`.
std::string difference(const std::map<std::string, Tensor>& found, const std::map<std::string, Tensor>& expected, double tolerance);

}  // namespace levin::test
