#include "levin/core/trace_context.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "levin/core/batch.h"
#include "levin/core/error.h"
#include "levin/core/fixed_text.h"
#include "levin/core/profile_range.h"

namespace levin {
namespace {

struct TraceContext {
  const RunScope* run;
  const HookScope* hook;
  const UnitScope* unit;  // innermost, in the hook
  bool recorded;          // whether the newest error's context is in note()
  RangeObserver* observer;
};
// initial-exec: allocated when a thread starts, so that signal handlers can read it.
[[gnu::tls_model("initial-exec")]] constinit thread_local TraceContext context{};

std::string& note() {
  thread_local std::string text;
  return text;
}

// The innermost scope that an exception leaves records the context, while all outer scopes still exist.
void record_error(int exceptions_before) noexcept {
  const bool by_exception = std::uncaught_exceptions() > exceptions_before;
  if (by_exception && !context.recorded) try {
      char memory[1024];
      FixedText text(memory, sizeof(memory));
      describe_trace_context(text);
      note().assign(text.view());
    } catch (const std::exception&) {  // no memory: the error itself is enough
      return;
    }
  context.recorded = by_exception;
}

// "Toy" of N12_GLOBAL__N_13ToyE: the last name before its template arguments, without allocation.
std::string_view class_name(const std::type_info& type) noexcept {
  std::string_view rest = type.name(), last = rest;
  if (rest.starts_with('N')) rest.remove_prefix(1);
  if (rest.starts_with("St")) rest.remove_prefix(2);
  while (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') {
    size_t length = 0;
    for (; !rest.empty() && rest[0] >= '0' && rest[0] <= '9'; rest.remove_prefix(1))
      length = 10 * length + static_cast<size_t>(rest[0] - '0');
    last = rest.substr(0, length);
    rest.remove_prefix(std::min(length, rest.size()));
  }
  return last;
}

// Removes what LibTorch appends for its developers.
std::string cause_of(const c10::Error& error) {
  std::string text = error.what_without_backtrace();
  text.resize(std::min(text.size(), text.find("\nException raised from ")));
  size_t end = 0;
  for (int lines = 0; lines < 6 && end < text.size(); lines++) end = std::min(text.find('\n', end), text.size() - 1) + 1;
  text.resize(end);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return "[torch] " + text;
}

}  // namespace

ObservedThread::ObservedThread(RangeObserver* observer) noexcept : before_(std::exchange(context.observer, observer)) {}
ObservedThread::~ObservedThread() { context.observer = before_; }
RangeObserver* ObservedThread::current() noexcept { return context.observer; }

void detail::begin_range(RangeKind kind, std::string_view name, std::string_view owner) noexcept {
  if (context.observer) context.observer->begin({kind, name, owner});
}
void detail::end_range() noexcept {
  if (context.observer) context.observer->end();
}

RunScope::RunScope(const Names& names, const int64_t& step) noexcept : names_(names), step_(step), outer_(context.run) {
  context.run = this;
}
RunScope::~RunScope() { context.run = outer_; }

const std::string& RunScope::name_of(const void* module) const noexcept {
  static const std::string none;
  for (const auto& [address, name] : names_)
    if (address == module) return name;
  return none;
}

HookScope::HookScope(const char* name, const std::type_info* of, const Batch* batch) noexcept
    : name_(name), of_(of), batch_(batch), outer_(context.hook), unit_(context.unit), exceptions_(std::uncaught_exceptions()) {
  context.hook = this;
  context.unit = nullptr;
  context.recorded = false;
  if (context.observer) context.observer->begin({RangeKind::hook, name, of ? class_name(*of) : std::string_view()});
}

HookScope::~HookScope() {
  detail::end_range();
  record_error(exceptions_);
  context.hook = outer_;
  context.unit = unit_;
}

void HookScope::describe(FixedText& text) const noexcept {
  text << "\n  in " << name_;
  if (of_) text << " of " << class_name(*of_);
  if (context.run) text << ", step " << context.run->step();
}

void HookScope::describe_batch(FixedText& text) const noexcept {
  if (!batch_) return;
  text << "\n  batch:";
  constexpr size_t most = 8;
  const auto& tensors = batch_->tensors();
  for (size_t i = 0; i < std::min(tensors.size(), most); i++) {
    text << (i > 0 ? ", " : " ") << tensors[i].first << " ";
    if (tensors[i].second.defined())
      describe_shape(text, tensors[i].second.sizes(), tensors[i].second.scalar_type());
    else
      text << "undefined";
  }
  if (tensors.size() > most) text << ", …";
}

UnitScope::UnitScope(const void* module, const std::type_info& type) noexcept
    : module_(module), type_(&type), outer_(context.unit), exceptions_(std::uncaught_exceptions()) {
  context.unit = this;
  context.recorded = false;
  if (!context.observer) return;
  const std::string_view name = context.run ? std::string_view(context.run->name_of(module)) : std::string_view();
  context.observer->begin({RangeKind::unit, name.empty() ? class_name(type) : name});
}

UnitScope::~UnitScope() {
  detail::end_range();
  record_error(exceptions_);
  context.unit = outer_;
}

void UnitScope::describe(FixedText& text) const noexcept {
  const std::string_view name = context.run ? std::string_view(context.run->name_of(module_)) : std::string_view();
  text << "\n  in unit " << name << (name.empty() ? "" : " (") << class_name(*type_) << (name.empty() ? "" : ")");
  if (!inputs_.empty()) inputs_.describe(text << ", inputs ");
}

void describe_trace_context(FixedText& text) noexcept {
  if (context.hook) context.hook->describe(text);
  if (context.unit) context.unit->describe(text);
  if (context.hook) context.hook->describe_batch(text);
}

const std::string& error_context() noexcept {
  static const std::string none;
  return context.recorded ? note() : none;
}

KeepErrorContext::~KeepErrorContext() {
  context.recorded = !context_.empty();
  if (context.recorded) note().swap(context_);
}

std::string explain(const std::exception& error) {
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  return (torch ? cause_of(*torch) : std::string(error.what())) + error_context();
}

}  // namespace levin
