#pragma once
// Guards for a scope of a run. They restore the previous state at its end, also after an exception.
#include <ATen/Context.h>
#include <torch/csrc/autograd/anomaly_mode.h>

#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "levin/nn/module_buffers.h"
#include "levin/trainer/log_collection.h"
#include "levin/trainer/module.h"
#include "run.h"

namespace levin {

/// The module and its data know the Trainer that runs them.
class ModuleInRun {
 public:
  ModuleInRun(Module& module, DataModule& data, Trainer& trainer) : module_(module), data_(data) {
    module_.attach(&trainer);
    data_.attach(&trainer);
  }
  ~ModuleInRun() {
    module_.attach(nullptr);
    data_.attach(nullptr);
  }
  ModuleInRun(const ModuleInRun&) = delete;
  ModuleInRun& operator=(const ModuleInRun&) = delete;

 private:
  Module& module_;
  DataModule& data_;
};

/// The loggers have their queues when the run begins, and its values when it ends.
class DrainedLoggers {
 public:
  explicit DrainedLoggers(LoggerConnector& logging) : logging_(logging) { logging_.loggers(); }
  ~DrainedLoggers() { logging_.drain(); }
  DrainedLoggers(const DrainedLoggers&) = delete;
  DrainedLoggers& operator=(const DrainedLoggers&) = delete;

 private:
  LoggerConnector& logging_;
};

/// The Trainer knows its run.
class CurrentRun {
 public:
  CurrentRun(Run*& current, Run& run) : current_(current), before_(std::exchange(current, &run)) {}
  ~CurrentRun() { current_ = before_; }
  CurrentRun(const CurrentRun&) = delete;
  CurrentRun& operator=(const CurrentRun&) = delete;

 private:
  Run*& current_;
  Run* before_;
};

/// The module's log() goes to these logs.
class LogTarget {
 public:
  LogTarget(Run& run, LogCollection& logs) : run_(run), before_(run.module().logs()) {
    run.module().attach_logs(run.config().barebones ? nullptr : &logs);
    run.set_logs(&logs);
  }
  ~LogTarget() {
    run_.module().attach_logs(before_);
    run_.set_logs(before_);
  }
  LogTarget(const LogTarget&) = delete;
  LogTarget& operator=(const LogTarget&) = delete;

 private:
  Run& run_;
  LogCollection* before_;
};

/// LibTorch settings of the configuration for all of its operations: deterministic, benchmark, matmul_precision, and, in a training,
/// detect_anomaly.
class NumericFlags {
 public:
  NumericFlags(const TrainerConfig& config, Stage stage)
      : deterministic_(at::globalContext().deterministicAlgorithms()),
        warn_only_(at::globalContext().deterministicAlgorithmsWarnOnly()),
        benchmark_(at::globalContext().benchmarkCuDNN()),
        matmul_precision_(at::globalContext().float32MatmulPrecision()),
        anomaly_(AnomalyMode::is_enabled()),
        check_nan_(AnomalyMode::should_check_nan()) {
    if (config.deterministic != Deterministic::no) {
      setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // without it cuBLAS is not deterministic, and LibTorch refuses it
      at::globalContext().setDeterministicAlgorithms(true, config.deterministic == Deterministic::warn);
    }
    if (config.benchmark || config.deterministic != Deterministic::no)
      at::globalContext().setBenchmarkCuDNN(config.benchmark.value_or(false));
    if (config.matmul_precision) at::globalContext().setFloat32MatmulPrecision(std::string(enum_name(*config.matmul_precision)));
    if (config.detect_anomaly && stage == Stage::fit) AnomalyMode::set_enabled(true);
  }
  ~NumericFlags() {
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(deterministic_, warn_only_);
    context.setBenchmarkCuDNN(benchmark_);
    if (context.float32MatmulPrecision() != matmul_precision_) context.setFloat32MatmulPrecision(name_of(matmul_precision_));
    AnomalyMode::set_enabled(anomaly_, check_nan_);
  }
  NumericFlags(const NumericFlags&) = delete;
  NumericFlags& operator=(const NumericFlags&) = delete;

 private:
  using AnomalyMode = torch::autograd::AnomalyMode;
  static const char* name_of(at::Float32MatmulPrecision precision) {
    return precision == at::Float32MatmulPrecision::HIGHEST ? "highest" : precision == at::Float32MatmulPrecision::HIGH ? "high" : "medium";
  }
  bool deterministic_, warn_only_, benchmark_;
  at::Float32MatmulPrecision matmul_precision_;
  bool anomaly_, check_nan_;
};

/// The module and all of its parts are in eval mode, and afterwards each in the mode that it was in.
class EvaluationMode {
 public:
  explicit EvaluationMode(Module& module) : module_(module), training_(module.is_training()) {
    for (const auto& part : module.modules(/*include_self=*/false)) parts_.emplace_back(part, part->is_training());
    module.eval();
  }
  ~EvaluationMode() { restore(); }
  void restore() {
    if (module_.is_training() != training_) module_.train(training_);
    for (const auto& [part, training] : parts_)  // those above come first, and take theirs along
      if (part->is_training() != training) part->train(training);
  }
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  Module& module_;
  bool training_;
  std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>> parts_;
};

/// A padding batch changes nothing: the module's metrics gather nothing, and its buffers are restored at the end of the scope.
class PaddingGuard {
 public:
  PaddingGuard(Module& module, const Batch& batch) : module_(batch.padding() ? &module : nullptr) {
    if (module_) buffers_.emplace(module);
    enable(false);
  }
  ~PaddingGuard() { enable(true); }
  PaddingGuard(const PaddingGuard&) = delete;
  PaddingGuard& operator=(const PaddingGuard&) = delete;

 private:
  void enable(bool enabled) {
    if (module_)
      for (const auto& [name, metric] : module_->metrics()) metric->set_enabled(enabled);
  }
  Module* module_;
  std::optional<BufferGuard> buffers_;
};

}  // namespace levin
