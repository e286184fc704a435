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

/// The trace context of a thread, for error messages: scope objects on its stack name the current hook and the current unit of the model.
/// Entering and leaving a scope costs a few stores; text is formatted only for errors and crash reports. Thread-local.

/// A run: the submodules' names by address, and the step number.
class RunScope {
 public:
  using Names = std::vector<std::pair<const void*, std::string>>;
  /// Both must outlive this.
  RunScope(const Names& names, const int64_t& step) noexcept;
  ~RunScope();
  RunScope(const RunScope&) = delete;
  RunScope& operator=(const RunScope&) = delete;

  int64_t step() const noexcept { return step_; }
  /// Empty for a module outside of the model.
  const std::string& name_of(const void* module) const noexcept;

 private:
  const Names& names_;
  const int64_t& step_;
  const RunScope* outer_;
};

class UnitScope;

/// A call of a hook, of a module's step, or of any named function.
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

/// body(), under a HookScope: an error in it names the hook, the class that is called and the batch.
template <class Call>
decltype(auto) call_hook(const char* name, const Call& body) {
  const HookScope scope(name);
  return body();
}
template <class Callee, class Call>
decltype(auto) call_hook(const char* name, const Callee& callee, const Call& body) {
  const HookScope scope(name, &typeid(callee));
  return body();
}
template <class Callee, class Call>
decltype(auto) call_hook(const char* name, const Callee& callee, const Batch& batch, const Call& body) {
  const HookScope scope(name, &typeid(callee), &batch);
  return body();
}

/// The forward of a unit.
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

/// Appends this thread's context: a line each for the hook, the innermost unit in it and the batch, each with a newline before it.
/// Async-signal-safe.
void describe_trace_context(FixedText& text) noexcept;
/// The same lines for the newest exception that left a hook or a unit of this thread; empty once another hook or unit was entered.
const std::string& error_context() noexcept;

/// Preserves error_context() over hooks that are called for the error.
class KeepErrorContext {
 public:
  KeepErrorContext() : context_(error_context()) {}
  ~KeepErrorContext();
  KeepErrorContext(const KeepErrorContext&) = delete;
  KeepErrorContext& operator=(const KeepErrorContext&) = delete;

 private:
  std::string context_;
};

/// The message of an error for users: LibTorch's are cut to their cause, and error_context() is appended.
std::string explain(const std::exception& error);

}  // namespace levin
