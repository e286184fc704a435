#include "levin/core/whereabouts.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <exception>

#include "levin/core/batch.h"
#include "levin/core/error.h"
#include "levin/core/fixed_text.h"

namespace levin {
namespace {

struct Here {
  const RunScope* run;
  const HookScope* hook;
  const UnitScope* unit;  // innermost, in the hook
  bool noted;             // the newest error's place
};
// Memory of this kind is there from a thread's start, so that a signal handler finds it.
[[gnu::tls_model("initial-exec")]] constinit thread_local Here here{};

std::string& note() {
  thread_local std::string text;
  return text;
}

// The innermost one that an exception leaves notes the place; all around it are still there.
void left(int exceptions_before) noexcept {
  const bool by_exception = std::uncaught_exceptions() > exceptions_before;
  if (by_exception && !here.noted) try {
      char memory[1024];
      FixedText text(memory, sizeof(memory));
      describe_whereabouts(text);
      note().assign(text.view());
    } catch (const std::exception&) {  // no memory: the error itself is enough
      return;
    }
  here.noted = by_exception;
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

// What LibTorch adds for its developers.
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

RunScope::RunScope(const Names& names, const int64_t& step) noexcept : names_(names), step_(step), outer_(here.run) { here.run = this; }
RunScope::~RunScope() { here.run = outer_; }

const std::string& RunScope::name_of(const void* module) const noexcept {
  static const std::string none;
  for (const auto& [address, name] : names_)
    if (address == module) return name;
  return none;
}

HookScope::HookScope(const char* name, const std::type_info* of, const Batch* batch) noexcept
    : name_(name), of_(of), batch_(batch), outer_(here.hook), unit_(here.unit), exceptions_(std::uncaught_exceptions()) {
  here.hook = this;
  here.unit = nullptr;
  here.noted = false;
}

HookScope::~HookScope() {
  left(exceptions_);
  here.hook = outer_;
  here.unit = unit_;
}

void HookScope::describe(FixedText& text) const noexcept {
  text << "\n  in " << name_;
  if (of_) text << " of " << class_name(*of_);
  if (here.run) text << ", step " << here.run->step();
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
    : module_(module), type_(&type), outer_(here.unit), exceptions_(std::uncaught_exceptions()) {
  here.unit = this;
  here.noted = false;
}

UnitScope::~UnitScope() {
  left(exceptions_);
  here.unit = outer_;
}

void UnitScope::describe(FixedText& text) const noexcept {
  const std::string_view name = here.run ? std::string_view(here.run->name_of(module_)) : std::string_view();
  text << "\n  in unit " << name << (name.empty() ? "" : " (") << class_name(*type_) << (name.empty() ? "" : ")");
  if (!inputs_.empty()) inputs_.describe(text << ", inputs ");
}

void describe_whereabouts(FixedText& text) noexcept {
  if (here.hook) here.hook->describe(text);
  if (here.unit) here.unit->describe(text);
  if (here.hook) here.hook->describe_batch(text);
}

const std::string& place_of_error() noexcept {
  static const std::string nowhere;
  return here.noted ? note() : nowhere;
}

ErrorPlaceKept::~ErrorPlaceKept() {
  here.noted = !place_.empty();
  if (here.noted) note().swap(place_);
}

std::string explain(const std::exception& error) {
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  return (torch ? cause_of(*torch) : std::string(error.what())) + place_of_error();
}

}  // namespace levin
