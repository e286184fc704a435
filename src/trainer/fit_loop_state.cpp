#include <fmt/ranges.h>

#include <algorithm>

#include "levin/core/error.h"
#include "levin/trainer/fit_loop.h"
#include "state_reader.h"

namespace levin {
namespace {

std::string of_optimizer(const std::string& name, const char* field) { return "optimizer." + name + "." + field; }

constexpr const char* frozen_parameters = "frozen_parameters";  // one name a line

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

}  // namespace

// Where the training stands, between two steps.
StateDict FitLoop::state() const {
  StateDict state;
  const auto& progress = session_.progress();
  const auto place = loader_->state();
  state.set("epoch", progress.epoch);
  state.set("step", progress.step);
  state.set("in_epoch", in_epoch_);
  state.set("validation_given_up", validation_given_up_);
  state.set("loader.epoch", place.epoch);
  state.set("loader.samples", place.samples);
  state.set("loader.step_samples", loader_->step_samples());
  state.set("all_batches", all_batches_);
  state.set("ranks", session_.size());
  state.set("seed", session_.seed());
  state.set("seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count());
  for (size_t i = 0; i < session_.optimizers().size(); i++) {
    const auto& name = session_.optimizers()[i];
    const auto& plateau = session_.plateau(i);
    state.set(of_optimizer(name, "steps"), session_.strategy().optimizer_steps(i));
    if (plateau.best) state.set(of_optimizer(name, "plateau.best"), *plateau.best);
    if (plateau.waiting) state.set(of_optimizer(name, "plateau.waiting"), *plateau.waiting);
    state.set(of_optimizer(name, "plateau.bad"), plateau.bad);
    state.set(of_optimizer(name, "plateau.cooldown"), plateau.cooldown);
    state.set(of_optimizer(name, "plateau.reductions"), plateau.reductions);
  }
  state.set(frozen_parameters, fmt::to_string(fmt::join(session_.strategy().frozen_parameters(), "\n")));
  session_.scaling().save(state);
  for (const auto& [name, value] : trainer_.report().metrics) state.set("metric." + name, value);
  return state;
}

void FitLoop::restore(detail::StateReader& saved) {
  const StateDict& state = saved.loop();
  if (const auto seed = static_cast<uint64_t>(state.get<int64_t>("seed")); seed != session_.seed())
    throw ConfigError(fmt::format("the run began with the seed {}, and goes on with {}", seed, session_.seed()),
                      fmt::format("use --seed_everything {}", seed), "checkpoint");
  const int64_t ranks = state.get<int64_t>("ranks"), step_samples = state.get<int64_t>("loader.step_samples");
  if (step_samples != loader_->step_samples())
    throw ConfigError(fmt::format("a step of the run had {} samples on {} ranks, and has {} on {}", step_samples, ranks,
                                  loader_->step_samples(), session_.size()),
                      fmt::format("keep them with --data.global_batch_size {0}, or the batch_size that makes {0}", step_samples),
                      "checkpoint");
  if (step_samples == 0 && ranks != session_.size())
    throw ConfigError(fmt::format("the run read its streams on {} ranks, and goes on with {}", ranks, session_.size()),
                      "a stream is cut by ranks: start as many", "checkpoint");
  auto& progress = session_.progress();
  progress.epoch = state.get<int64_t>("epoch");
  progress.step = state.get<int64_t>("step");
  all_batches_ = state.get<int64_t>("all_batches");
  in_epoch_ = state.get<bool>("in_epoch");
  validation_given_up_ = state.get<bool>("validation_given_up") && validation_;
  started_ -= std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(state.get<double>("seconds")));
  for (size_t i = 0; i < session_.optimizers().size(); i++) {
    const auto& name = session_.optimizers()[i];
    if (!state.contains(of_optimizer(name, "plateau.bad"))) continue;  // it was not strict
    PlateauState plateau{.bad = state.get<int64_t>(of_optimizer(name, "plateau.bad")),
                         .cooldown = state.get<int64_t>(of_optimizer(name, "plateau.cooldown")),
                         .reductions = state.get<int64_t>(of_optimizer(name, "plateau.reductions"))};
    if (const auto waiting = of_optimizer(name, "plateau.waiting"); state.contains(waiting)) plateau.waiting = state.get<double>(waiting);
    if (const auto best = of_optimizer(name, "plateau.best"); state.contains(best)) plateau.best = state.get<double>(best);
    session_.set_plateau(i, plateau);
  }
  if (state.contains(frozen_parameters)) session_.strategy().freeze_parameters(lines_of(state.get<std::string>(frozen_parameters)));
  session_.scaling().load(state);
  auto& metrics = trainer_.report().metrics;
  metrics.clear();
  for (const auto& [name, value] : state.values())
    if (name.starts_with("metric.")) metrics.emplace_back(name.substr(7), state.get<double>(name));
  if (!in_epoch_) return;
  batch_idx_ = loader_->restore({state.get<int64_t>("loader.epoch"), state.get<int64_t>("loader.samples")});
  saved.load_running(logs_);
}

}  // namespace levin
