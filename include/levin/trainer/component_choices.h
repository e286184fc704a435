#pragma once
#include <concepts>
#include <filesystem>

#include "levin/core/open_choice.h"

namespace levin {

class Callback;
class Logger;
class Profiler;

/// The callbacks that a program's configuration can choose, by name.
using CallbackRegistry = Registry<Callback>;
using CallbackChoices = Choices<Callback>;
/// The same of loggers; the argument is the folder of the run.
using LoggerRegistry = Registry<Logger, std::filesystem::path>;
/// The same of profilers.
using ProfilerRegistry = Registry<Profiler>;
using ProfilerChoices = Choices<Profiler>;

/// `true` (what the program logs to by default), `false`, or loggers by name.
struct LoggerChoices : Choices<Logger, std::filesystem::path> {
  LoggerChoices() : Choices(true) {}
  template <std::same_as<bool> Bool>  // a "csv" must not pass for true
  LoggerChoices(Bool on) : Choices(on) {}
};

}  // namespace levin
