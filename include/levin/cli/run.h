#pragma once
#include <functional>
#include <memory>

#include "levin/cli/program_options.h"
#include "levin/trainer/data_module.h"
#include "levin/trainer/trainer.h"

namespace levin::cli {

/// What a training program is made of; run<Model, Data> fills it.
struct Program {
  std::function<void(ProgramOptions&)> add_groups;
  std::function<std::shared_ptr<Module>(Trainer&)> make_module;
  std::function<std::shared_ptr<DataModule>()> make_data;
};

/// Options, MPI, the run's folder, the subcommand. Returns the exit code: an ExitCode, or 143 after SIGTERM. Errors are printed, not
/// thrown. A rank that fails by itself ends the whole job (MPI_Abort), and this does not return.
int run_program(int argc, const char* const* argv, const Program& program);

namespace detail {
struct NoConfig {};
template <class T>
struct ConfigOf {
  using type = NoConfig;
};
template <class T>
requires requires { typename T::Config; }
struct ConfigOf<T> {
  using type = typename T::Config;
};
}  // namespace detail

/// The main function of a job: `int main(int argc, char** argv) { return levin::cli::run<Classifier, FashionMnist>(argc, argv); }`
/// A model and a data module with options name their struct `using Config = …` and are constructed from it.
template <class Model, class Data>
int run(int argc, const char* const* argv) {
  using ModelConfig = typename detail::ConfigOf<Model>::type;
  using DataConfig = typename detail::ConfigOf<Data>::type;
  ModelConfig model;
  DataConfig data;
  Program program;
  program.add_groups = [&](ProgramOptions& options) {
    if constexpr (!std::is_same_v<ModelConfig, detail::NoConfig>) options.add_group("model", "the model", model);
    if constexpr (!std::is_same_v<DataConfig, detail::NoConfig>) options.add_group("data", "the data", data);
  };
  program.make_module = [&](Trainer& trainer) -> std::shared_ptr<Module> {
    if constexpr (std::is_same_v<ModelConfig, detail::NoConfig>) {
      return trainer.build<Model>();
    } else {
      return trainer.build<Model>(model);
    }
  };
  program.make_data = [&]() -> std::shared_ptr<DataModule> {
    if constexpr (std::is_same_v<DataConfig, detail::NoConfig>) {
      return std::make_shared<Data>();
    } else {
      return std::make_shared<Data>(data);
    }
  };
  return run_program(argc, argv, program);
}

}  // namespace levin::cli
