#include "run_state.h"

#include <ATen/ops/tensor.h>
#include <c10/util/Type.h>
#include <fmt/format.h>

#include <limits>
#include <map>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/trace_context.h"
#include "levin/trainer/log_collection.h"
#include "levin/trainer/module.h"
#include "queued_logger.h"
#include "run.h"

namespace levin::detail {
namespace {

constexpr const char* remedy = "resume with the program that wrote it";

/// The description of an entry of a LogCollection; its numbers are a tensor beside it.
struct EntryText {
  std::string name = {};
  LogOptions options = {};
  std::string metric = {};  // of the module; empty: a value
};

std::string key_of(int64_t number, const char* field) { return fmt::format("{:04}.{}", number, field); }
std::string numbers_of(int64_t number) { return fmt::format("{:04}", number); }

void write(StateDict& state, int64_t number, const EntryText& entry) {
  state.set(key_of(number, "name"), entry.name);
  state.set(key_of(number, "metric"), entry.metric);
  state.set(key_of(number, "on_step"), entry.options.on_step.value_or(false));
  state.set(key_of(number, "on_epoch"), entry.options.on_epoch.value_or(false));
  state.set(key_of(number, "prog_bar"), entry.options.prog_bar);
  state.set(key_of(number, "logger"), entry.options.logger);
  state.set(key_of(number, "reduce_fx"), static_cast<int64_t>(entry.options.reduce_fx));
}

EntryText read(const StateDict& state, int64_t number) {
  const auto flag = [&](const char* field) { return state.get<bool>(key_of(number, field)); };
  const int64_t reduce_fx = state.get<int64_t>(key_of(number, "reduce_fx"));
  if (reduce_fx < 0 || reduce_fx > static_cast<int64_t>(ReduceFx::max))
    throw DataError(fmt::format("the state's value \"{}\" is {}", key_of(number, "reduce_fx"), reduce_fx), remedy, "trainer");
  return {state.get<std::string>(key_of(number, "name")),
          {.on_step = flag("on_step"),
           .on_epoch = flag("on_epoch"),
           .prog_bar = flag("prog_bar"),
           .reduce_fx = static_cast<ReduceFx>(reduce_fx),
           .logger = flag("logger")},
          state.get<std::string>(key_of(number, "metric"))};
}

std::string name_of_metric(const Module& module, const Metric* metric_sought) {
  for (const auto& [name, metric] : module.metrics())
    if (metric.get() == metric_sought) return name;
  return {};
}

// The rows of [ranks, 4] that are this rank's: its own on as many ranks as before, else all of them on rank 0.
void add_rows(LogCollection::Running& entry, const Tensor& all, int rank, int ranks) {
  const auto cell = [&](int64_t row, int column) { return all.const_data_ptr<double>()[4 * row + column]; };
  const auto reduce_fx = entry.options.reduce_fx;
  entry.sum = reduce_fx == ReduceFx::min   ? std::numeric_limits<double>::infinity()
              : reduce_fx == ReduceFx::max ? -std::numeric_limits<double>::infinity()
                                           : 0;
  const bool same_ranks = all.size(0) == ranks;
  for (int64_t row = 0; row < all.size(0); row++) {
    if (same_ranks ? row != rank : rank != 0) continue;
    const double sum = cell(row, 0);
    entry.sum = reduce_fx == ReduceFx::min   ? std::min(entry.sum, sum)
                : reduce_fx == ReduceFx::max ? std::max(entry.sum, sum)
                                             : entry.sum + sum;
    entry.weight += cell(row, 1);
    entry.last = cell(row, 2), entry.last_weight = cell(row, 3);
  }
}

void load_rows(Metric& metric, const std::string& state, const Tensor& all, const Tensor& rows_of_ranks, int rank, int ranks) {
  const int64_t* rows = rows_of_ranks.const_data_ptr<int64_t>();
  if (rows_of_ranks.numel() == ranks) {
    int64_t begin = 0;
    for (int before = 0; before < rank; before++) begin += rows[before];
    if (rows[rank] > 0) metric.load_state(state, all.narrow(0, begin, rows[rank]));
  } else if (rank == 0 && all.size(0) > 0) {
    metric.load_state(state, all);
  }
}

}  // namespace

std::vector<std::pair<std::string, std::shared_ptr<Callback>>> keyed_callbacks(const Run& run) {
  std::vector<std::pair<std::string, std::shared_ptr<Callback>>> keyed;
  std::map<std::string, int> seen;
  for (const auto& callback : run.callbacks()) {
    std::string key = callback->state_key();
    if (key.empty()) key = c10::demangle(typeid(*callback).name());
    for (size_t at; (at = key.find('/')) != std::string::npos;) key[at] = '_';
    if (const int count = ++seen[key]; count > 1) key += fmt::format("_{}", count);
    keyed.emplace_back(std::move(key), callback);
  }
  return keyed;
}

void RunningLogs::save(StateDict& state) {
  int64_t number = 0;
  for (const auto& entry : logs_.running()) {
    const EntryText text{.name = entry.name, .options = entry.options, .metric = name_of_metric(module_, entry.metric)};
    if (entry.metric && text.metric.empty()) continue;  // not a metric of the module: it is logged again
    write(state, number, text);
    state.set(numbers_of(number++), StateDict::EachRank{at::tensor({entry.sum, entry.weight, entry.last, entry.last_weight}, at::kDouble)});
  }
  state.set("count", number);
}

void RunningLogs::load(const StateDict& state) {
  std::vector<LogCollection::Running> entries;
  for (int64_t number = 0; number < state.get<int64_t>("count"); number++) {
    const auto text = read(state, number);
    LogCollection::Running entry{.name = text.name, .options = text.options};
    if (!text.metric.empty()) {
      for (const auto& [name, metric] : module_.metrics())
        if (name == text.metric) entry.metric = metric.get();
      if (!entry.metric) continue;
    }
    const Tensor& all = state.get<Tensor>(numbers_of(number));
    if (all.dim() != 2 || all.size(1) != 4 || all.scalar_type() != at::kDouble)
      throw DataError(fmt::format("the state of the logged value {} has an invalid shape or dtype", text.name), remedy, "trainer");
    add_rows(entry, all, session_.rank(), session_.size());
    entries.push_back(std::move(entry));
  }
  logs_.restore(entries);
}

void ModuleMetrics::save(StateDict& state) {
  for (const auto& [name, metric] : module_.metrics())
    for (const auto& part : metric->states()) {
      const auto key = name + "/" + part.name;
      if (part.reduction == StateReduction::concatenate)
        state.set(key, StateDict::RankRows{part.joined()});
      else
        state.set(key, StateDict::EachRank{part.value});
    }
}

void ModuleMetrics::load(const StateDict& state) {
  const int rank = session_.rank(), ranks = session_.size();
  for (const auto& [name, metric] : module_.metrics())
    for (const auto& part : metric->states()) {
      const auto key = name + "/" + part.name;
      if (!state.contains(key)) continue;
      const Tensor& all = state.get<Tensor>(key);
      if (part.reduction == StateReduction::concatenate)
        load_rows(*metric, part.name, all, state.get<Tensor>(key + ".ranks"), rank, ranks);
      else if (all.size(0) == ranks)
        metric->load_state(part.name, all[rank]);
      else if (rank == 0)
        metric->load_state(part.name, part.reduction == StateReduction::sum   ? all.sum(0)
                                      : part.reduction == StateReduction::min ? all.amin(0)
                                                                              : all.amax(0));
    }
}

FunctionState state_of(DataModule& data) {
  return {"data",
          [&data](StateDict& state) {
            const HookScope scope("state_dict", &typeid(data));
            state = data.state_dict();
          },
          [&data](const StateDict& state) {
            const HookScope scope("load_state_dict", &typeid(data));
            data.load_state_dict(state);
          }};
}

RunState::RunState(Run& run, LogCollection& logs)
    : session_(run.session()), running_(session_, run.module(), logs), metrics_(session_, run.module()) {
  const auto add = [&](FunctionState state) { others_.push_back(std::make_unique<FunctionState>(std::move(state))); };
  add(state_of(run.data()));
  for (const auto& [key, callback] : keyed_callbacks(run))
    add({"callbacks/" + key, [member = callback.get()](StateDict& state) { state = member->state_dict(); },
         [member = callback.get()](const StateDict& state) { member->load_state_dict(state); }});
  const auto& hooks = run.hooks();
  add({"hooks", [&hooks](StateDict& state) { hooks.call("on_save_checkpoint", &Hooks::on_save_checkpoint, state); },
       [&hooks](const StateDict& state) { hooks.call("on_load_checkpoint", &Hooks::on_load_checkpoint, state); }});
  // Only rank 0 has loggers, but all ranks attach the same states.
  const auto& loggers = run.logging().loggers();
  const auto count = broadcast_value(session_.communicator(), loggers.size());
  for (size_t i = 0; i < count; i++) {
    auto* logger = i < loggers.size() ? loggers[i].get() : nullptr;
    loggers_.push_back(std::make_unique<FunctionState>(
        fmt::format("loggers/{}", i),
        [logger](StateDict& state) {
          if (logger) state = logger->state_dict();
        },
        [logger](const StateDict& state) {
          if (logger) logger->load_state_dict(state);
        }));
  }
  session_.attach(running_);
  session_.attach(metrics_);
  for (const auto* states : {&others_, &loggers_})
    for (const auto& state : *states) session_.attach(*state);
}

RunState::~RunState() {
  session_.detach(running_);
  session_.detach(metrics_);
  for (const auto* states : {&others_, &loggers_})
    for (const auto& state : *states) session_.detach(*state);
}

namespace {

std::vector<Stateful*> pointers(const std::vector<std::unique_ptr<FunctionState>>& states) {
  std::vector<Stateful*> all;
  for (const auto& state : states) all.push_back(state.get());
  return all;
}

}  // namespace

std::vector<Stateful*> RunState::others() { return pointers(others_); }
std::vector<Stateful*> RunState::loggers() { return pointers(loggers_); }

}  // namespace levin::detail
