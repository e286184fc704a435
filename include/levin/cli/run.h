#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "levin/cli/link.h"
#include "levin/cli/models.h"
#include "levin/cli/own_components.h"
#include "levin/cli/program_options.h"
#include "levin/trainer/data_module.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"

namespace levin::cli {

/// The parts of a training program; run<Model, Data> fills it.
struct Program {
  std::function<void(ProgramOptions&)> add_groups;
  /// Called once, before make_module.
  std::function<std::shared_ptr<DataModule>()> make_data;
  std::function<std::shared_ptr<Module>(Trainer&)> make_module;
  /// The same without a Trainer, for `plan`.
  std::function<std::shared_ptr<Module>()> make_plain_module = {};
  std::vector<std::function<void(CallbackRegistry&)>> add_callbacks = {};
  std::vector<std::function<void(LoggerRegistry&)>> add_loggers = {};
  std::vector<std::function<void(ProfilerRegistry&)>> add_profilers = {};
};

/// Options, MPI, the run's folder, the subcommand. Returns the exit code: an ExitCode, or 143 after SIGTERM. Errors are printed, not
/// thrown. A rank that fails by itself ends the whole job (MPI_Abort), and this does not return.
int run_program(int argc, const char* const* argv, const Program& program);

namespace detail {

template <class Model, class Data>
struct ProgramParts {
  using ModelSlot = Slot<Model>;
  using DataSlot = Slot<Data>;

  ProgramParts() {
    program.add_groups = [this](ProgramOptions& options) {
      model.add_group(options, "model", "the model");
      data.add_group(options, "data", "the data");
      for (const auto& link : links) options.add_link(link);
    };
    program.make_data = [this] {
      return built_data_module = data.visit([]<class T>(const auto& config) -> std::shared_ptr<DataModule> {
        if constexpr (has_options<T>) {
          return std::make_shared<T>(config);
        } else {
          return std::make_shared<T>();
        }
      });
    };
    program.make_module = [this](Trainer& trainer) {
      return model.visit([&]<class T>(const auto& config) -> std::shared_ptr<Module> {
        if constexpr (has_options<T>) {
          return trainer.build<T>(config);
        } else {
          return trainer.build<T>();
        }
      });
    };
    program.make_plain_module = [this] {
      return model.visit([]<class T>(const auto& config) -> std::shared_ptr<Module> {
        if constexpr (has_options<T>) {
          return std::make_shared<T>(config);
        } else {
          return std::make_shared<T>();
        }
      });
    };
  }
  ProgramParts(const ProgramParts&) = delete;

  ModelSlot model;
  DataSlot data;
  Program program;
  std::vector<OptionLink> links;
  std::shared_ptr<DataModule> built_data_module;
};

}  // namespace detail

/// The main function of a job: `int main(int argc, char** argv) { return levin::cli::run<Classifier, FashionMnist>(argc, argv); }`
/// A model and a data module with options name their struct `using Config = …` and are constructed from it. More parts:
///
///     using namespace levin::cli;
///     return run<Models<Mlp, Cnn>, DataModules<Mnist, Cifar>>(argc, argv,       // --model cnn --model.width 3 --data cifar
///         callback<GradientNorms>("gradient_norms"),                            // --trainer.callbacks gradient_norms
///         logger<MyLogger>("my_logger"),                                        // --trainer.logger my_logger
///         profiler<MyProfiler>("my_profiler"),                                  // --trainer.profiler my_profiler
///         link<&Cifar::classes, &CnnConfig::classes>());                        // what the data know, for a field of the model
template <class Model, class Data, class... Parts>
int run(int argc, const char* const* argv, const Parts&... parts) {
  detail::ProgramParts<Model, Data> all;
  (parts.add_to(all), ...);
  return run_program(argc, argv, all.program);
}

}  // namespace levin::cli
