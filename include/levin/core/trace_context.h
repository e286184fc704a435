#pragma once
#include <cstdint>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

#include "levin/core/shape_notes.h"

namespace levin {

class Batch;
class FixedText;

/// Where a thread is in a run, for messages about errors: objects on its stack say which hook is called, and which unit of the model.
/// To come and go costs a few stores; words are made when an error passes, or a crash is described. Each thread has its own.

/// The parts of a model by their addresses, and the number of steps so far.
class RunScope {
 public:
  using Names = std::vector<std::pair<const void*, std::string>>;
  /// Both must outlive this.
  RunScope(const Names& names, const int64_t& step) noexcept;
  ~RunScope();
  RunScope(const RunScope&) = delete;
  RunScope& operator=(const RunScope&) = delete;

  int64_t step() const noexcept { return step_; }
  /// Empty for what is not a part of the model.
  const std::string& name_of(const void* module) const noexcept;

 private:
  const Names& names_;
  const int64_t& step_;
  const RunScope* outer_;
};

class UnitScope;

/// A hook, a step of the module, or anything else with a name that is called.
class HookScope {
 public:
  /// `name` and `batch` must outlive this; `of` is the class that is called.
  explicit HookScope(const char* name, const std::type_info* of = nullptr, const Batch* batch = nullptr) noexcept;
  ~HookScope();
  HookScope(const HookScope&) = delete;
  HookScope& operator=(const HookScope&) = delete;

  void describe(FixedText& text) const noexcept;
  void describe_batch(FixedText& text) const noexcept;

 private:
  const char* name_;
  const std::type_info* of_;
  const Batch* batch_;
  const HookScope* outer_;
  const UnitScope* unit_;  // of the outer one
  int exceptions_;
};

/// call(), under a HookScope.
template <class Call>
auto call_hook(const char* name, const Call& call) {
  const HookScope scope(name);
  return call();
}

/// The compute of a unit.
class UnitScope {
 public:
  UnitScope(const void* module, const std::type_info& type) noexcept;
  ~UnitScope();
  UnitScope(const UnitScope&) = delete;
  UnitScope& operator=(const UnitScope&) = delete;

  ShapeNotes& inputs() noexcept { return inputs_; }
  void describe(FixedText& text) const noexcept;

 private:
  const void* module_;
  const std::type_info* type_;
  const UnitScope* outer_;
  int exceptions_;
  ShapeNotes inputs_;
};

/// Where this thread is: a line for the hook, one for the innermost unit in it, one for the batch, each with a newline before it. For
/// signal handlers, too.
void describe_trace_context(FixedText& text) noexcept;
/// The same lines for the newest exception that left a hook or a unit of this thread; empty once another one was entered.
const std::string& error_context() noexcept;

/// Hooks may be entered while this lives: the place of the error is the same afterwards.
class KeepErrorContext {
 public:
  KeepErrorContext() : context_(error_context()) {}
  ~KeepErrorContext();
  KeepErrorContext(const KeepErrorContext&) = delete;
  KeepErrorContext& operator=(const KeepErrorContext&) = delete;

 private:
  std::string context_;
};

/// An error in words for people: one of LibTorch's is cut to its cause, and the place of the error follows, if it is known.
std::string explain(const std::exception& error);

}  // namespace levin
