#include <fmt/ranges.h>

#include <algorithm>

#include "../core/lines.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "levin/session/load_from.h"
#include "levin/session/session.h"
#include "levin/session/state_reader.h"
#include "missed_updates.h"
#include "state_names.h"
#include "state_writer.h"

namespace levin {
namespace {

constexpr const char* frozen_parameters = "frozen_parameters";  // one name a line

std::string key_of(const std::string& optimizer, const char* field) { return "optimizer." + optimizer + "." + field; }

void check_seed(const StateDict& state, uint64_t seed) {
  if (const auto before = static_cast<uint64_t>(state.get<int64_t>("seed")); before != seed)
    throw ConfigError(fmt::format("the run began with seed {} and resumes with seed {}", before, seed),
                      fmt::format("use --seed_everything {}", before), "checkpoint");
}

}  // namespace

void Session::attach(Stateful& stateful) {
  const auto name = stateful.state_name();
  for (const auto* other : stateful_)
    if (other->state_name() == name)
      throw UsageError("session", fmt::format("two objects keep their state as \"{}\"", name), "give each its own state_name");
  stateful_.push_back(&stateful);
}

void Session::detach(const Stateful& stateful) noexcept { std::erase(stateful_, &stateful); }

void Session::add_progress(StateDict& state) {
  scaling_.settle();  // before the numbers of updates are read
  state.set("epoch", progress_.epoch);
  state.set("step", progress_.step);
  state.set("seed", seed_);
  for (size_t i = 0; i < optimizer_names_.size(); i++) {
    const auto& name = optimizer_names_[i];
    const auto& plateau = plateaus_[i];
    state.set(key_of(name, "steps"), strategy_->optimizer_steps(i));
    if (plateau.best) state.set(key_of(name, "plateau.best"), *plateau.best);
    if (plateau.waiting) state.set(key_of(name, "plateau.waiting"), *plateau.waiting);
    state.set(key_of(name, "plateau.bad"), plateau.bad);
    state.set(key_of(name, "plateau.cooldown"), plateau.cooldown);
    state.set(key_of(name, "plateau.reductions"), plateau.reductions);
  }
  state.set(frozen_parameters, fmt::to_string(fmt::join(strategy_->frozen_parameters(), "\n")));
  detail::add_missed_updates(state, strategy_->missed_updates());
  scaling_.save(state);
}

void Session::restore_progress(const StateDict& state) {
  check_seed(state, seed_);
  progress_.epoch = state.get<int64_t>("epoch");
  progress_.step = state.get<int64_t>("step");
  for (size_t i = 0; i < optimizer_names_.size(); i++) {
    const auto& name = optimizer_names_[i];
    if (!state.contains(key_of(name, "plateau.bad"))) continue;  // loading was not strict
    PlateauState plateau{.bad = state.get<int64_t>(key_of(name, "plateau.bad")),
                         .cooldown = state.get<int64_t>(key_of(name, "plateau.cooldown")),
                         .reductions = state.get<int64_t>(key_of(name, "plateau.reductions"))};
    if (const auto best = key_of(name, "plateau.best"); state.contains(best)) plateau.best = state.get<double>(best);
    if (const auto waiting = key_of(name, "plateau.waiting"); state.contains(waiting)) plateau.waiting = state.get<double>(waiting);
    plateaus_[i] = plateau;
  }
  if (state.contains(frozen_parameters)) strategy_->freeze_parameters(detail::lines_of(state.get<std::string>(frozen_parameters)));
  scaling_.load(state);
}

SaveReport Session::save(const std::filesystem::path& checkpoint, const std::map<std::string, std::string>& fields) {
  const auto path = std::filesystem::absolute(checkpoint).lexically_normal();
  auto& cpu = communicator_->cpu();
  StateDict progress;
  add_progress(progress);
  detail::StateWriter writer(*this, cpu);
  writer.add_model(/*weights_only=*/false);
  writer.add(detail::loop_state, progress);
  for (auto* stateful : stateful_) writer.add(*stateful);
  const CheckpointInfo info{.name = path.filename().string(), .step = progress_.step, .epoch = progress_.epoch, .fields = fields};
  return CheckpointWriter(cpu, path.parent_path(), {.write_last = false, .remove_leftovers = false}).save(info, writer.state());
}

void Session::restore(const std::filesystem::path& checkpoint) {
  const CheckpointReader reader(checkpoint, communicator_->cpu());
  const LoadFrom from{.checkpoint = &reader};
  StateReader saved(*this, from);
  check_seed(saved.loop(), seed_);  // before the model changes
  saved.load_model(/*weights_only=*/false);
  restore_progress(saved.loop());
  for (auto* stateful : stateful_) saved.load(*stateful);
}

}  // namespace levin
