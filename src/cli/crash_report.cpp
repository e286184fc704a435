#include "crash_report.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <exception>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/core/fixed_text.h"
#include "levin/core/trace_context.h"
#include "stack_trace.h"
#include "symbols.h"

extern "C" [[gnu::weak]] void __asan_init();  // NOLINT(bugprone-reserved-identifier)

namespace levin::cli {
namespace {

constexpr int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
constexpr size_t stack_bytes = 256 << 10;  // libbacktrace reads the debug information of all libraries on this stack

const char* name_of(int number) noexcept {
  switch (number) {
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGFPE: return "SIGFPE";
    case SIGILL: return "SIGILL";
    default: return "SIGABRT";
  }
}

struct Registers {
  uintptr_t instruction = 0, stack = 0;
  bool writes = false;
};

Registers registers_of(const void* context) noexcept {
  [[maybe_unused]] const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if __x86_64__
  return {static_cast<uintptr_t>(machine.gregs[REG_RIP]), static_cast<uintptr_t>(machine.gregs[REG_RSP]),
          (machine.gregs[REG_ERR] & 2) != 0};
#elif __aarch64__
  return {static_cast<uintptr_t>(machine.pc), static_cast<uintptr_t>(machine.sp), false};
#else
  return {};
#endif
}

void nap(int milliseconds) noexcept {
  const timespec time{milliseconds / 1000, milliseconds % 1000 * 1000000L};
  nanosleep(&time, nullptr);
}

void write_all(int file, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<size_t>(written));
  }
}

bool cores_wanted() noexcept {
  rlimit limit{};
  return getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur > 0;
}

}  // namespace

struct CrashReport::State {
  int rank = 0, ranks = 1;
  char host[256] = {};
  std::atomic<NodeGroup*> node{nullptr};
  bool several_hosts = false;
  std::string file, partial_file, json_begin;

  // The first thread that crashes owns the report.
  std::atomic<pid_t> thread{0};
  std::atomic<size_t> stage{0};
  int number = 0;
  const siginfo_t* info = nullptr;
  Registers registers;
  char cause_memory[2048], memory[6144], json_memory[10240];
  FixedText cause{cause_memory, sizeof(cause_memory)}, text{memory, sizeof(memory)}, json{json_memory, sizeof(json_memory)};
  StackTrace trace;
  size_t printed = 0;
  bool speaks = true;

  struct sigaction before[std::size(signals)] = {};
  std::terminate_handler terminate_before = nullptr;
  stack_t stack{}, stack_before{};

  static std::atomic<State*> installed;  // global, because a signal handler takes no arguments

  void describe_cause() noexcept {
    if (ranks > 1) ((text << "rank ") << int64_t{rank}) << " on " << host << ": ";
    text << "[crash] ";
    if (cause.size() > 0)
      text << cause.view();
    else
      describe_signal();
    if (gettid() != getpid()) {
      char thread_name[16] = {};
      prctl(PR_GET_NAME, thread_name);
      text << "\n  on thread " << thread_name;
    }
  }

  void describe_signal() noexcept {
    text << name_of(number) << ": ";
    const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
    if (number == SIGABRT) {
      text << "abort() was called";
    } else if (info->si_code <= 0) {
      (text << "sent by process ") << int64_t{info->si_pid};
    } else if (number == SIGFPE) {
      text << (info->si_code == FPE_INTDIV ? "integer division by zero" : "arithmetic error");
    } else if (number == SIGILL) {
      text << "illegal instruction for this processor";
    } else if (number == SIGBUS) {
      (text << "no file or device backs the memory at ").hex(address);
    } else if (info->si_code == SI_KERNEL) {
      text << "non-canonical address dereferenced";
    } else if (address < 65536) {
      (text << "null pointer " << (registers.writes ? "write" : "read") << " at ").hex(address);
    } else if (address + 65536 > registers.stack && address < registers.stack + 65536) {
      text << "stack overflow: unbounded recursion, or large local variables";
    } else {
      (text << "invalid " << (registers.writes ? "write" : "read") << " at ").hex(address);
    }
  }

  void describe_context() noexcept {
    if (cause.view().find("\n  in ") == std::string_view::npos) describe_trace_context(text);  // the message of an exception already has it
  }

  void claim() noexcept {
    NodeGroup* group = node;
    if (!group) return;
    speaks = group->abort(text.view());
    if (speaks && several_hosts) {  // ranks of several hosts may crash at once; wait until all know the winner
      nap(500);
      speaks = group->aborted_by_this_rank();
    }
    if (!speaks) nap(8000);  // until the launcher ends this rank: exiting first would end the reporting rank
  }

  void walk() noexcept {
    if (speaks) trace.collect(registers.instruction);
  }
  void name_functions() noexcept {
    if (speaks) trace.demangle();
  }
  void describe_stack() noexcept {
    if (!speaks) return;
    text << "  stack, innermost first:";
    trace.describe(text, 7);
  }
  // Called twice: the cause is printed even if the job ends during the stack trace.
  void print() noexcept {
    if (!speaks) return;
    text << "\n";
    write_all(STDERR_FILENO, text.view().substr(printed));
    printed = text.size();
  }

  void record() noexcept {
    if (!speaks || file.empty()) return;
    json << ", \"exit\": {\"code\": " << int64_t{70} << ", \"reason\": \"";
    for (const char letter : text.view().substr(0, text.size() - 1)) {
      if (letter == '\n')
        json << "\\n";
      else if (letter == '"' || letter == '\\')
        json << "\\" << std::string_view(&letter, 1);
      else if (static_cast<unsigned char>(letter) >= ' ')
        json << std::string_view(&letter, 1);
    }
    json << "\"}}\n";
    const int out = open(partial_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (out < 0) return;
    write_all(out, json_begin);
    write_all(out, json.view());
    if (close(out) == 0) rename(partial_file.c_str(), file.c_str());
  }

  void wait_for_others() noexcept {
    if (ranks > 1 && speaks) nap(300);
  }

  // A crash or a timeout inside a stage starts the next stage.
  [[noreturn]] void run_stages() noexcept {
    constexpr void (State::*stages[])() noexcept = {&State::describe_cause, &State::describe_context, &State::claim,          &State::print,
                                                    &State::walk,           &State::name_functions,   &State::describe_stack, &State::print,
                                                    &State::record,         &State::wait_for_others};
    for (size_t next; (next = stage++) < std::size(stages);) {
      alarm(stages[next] == &State::claim ? 10 : stages[next] == &State::walk ? 6 : 2);
      (this->*stages[next])();
    }
    if (speaks && cores_wanted()) {
      signal(number, SIG_DFL);
      kill(getpid(), number);
      nap(1000);
    }
    _exit(static_cast<int>(ExitCode::internal));
  }

  static void handle(int number, siginfo_t* info, void* context) noexcept {
    State& state = *installed.load();
    pid_t nobody = 0;
    if (state.thread.compare_exchange_strong(nobody, gettid())) {
      state.number = number;
      state.info = info;
      state.registers = registers_of(context);
      struct sigaction again {};
      again.sa_sigaction = handle;
      again.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
      sigaction(SIGALRM, &again, nullptr);
    } else if (nobody != gettid() && number != SIGALRM) {
      while (true) nap(1000);  // the first thread ends the process
    }
    state.run_stages();
  }

  [[noreturn]] static void on_terminate() noexcept {
    if (State* state = installed; state && state->thread == 0) try {
        state->cause << "std::terminate was called: ";
        if (const auto error = std::current_exception())
          std::rethrow_exception(error);
        else
          state->cause << "no active exception";
      } catch (const std::exception& error) {
        state->cause << explain(error);
      } catch (...) {
        state->cause << "an exception that is not a std::exception";
      }
    std::abort();
  }
};

std::atomic<CrashReport::State*> CrashReport::State::installed{nullptr};

CrashReport::CrashReport(int rank, int ranks) {
  if (&__asan_init != nullptr) return;
  state_ = std::make_unique<State>();
  state_->rank = rank;
  state_->ranks = ranks;
  gethostname(state_->host, sizeof(state_->host) - 1);
  prepare_symbols();
  State::installed = state_.get();
  // An alternate signal stack reports stack overflows, on this thread only.
  void* stack = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack != MAP_FAILED) {
    state_->stack.ss_sp = stack;
    state_->stack.ss_size = stack_bytes;
    sigaltstack(&state_->stack, &state_->stack_before);
  }
  struct sigaction action {};
  action.sa_sigaction = State::handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (size_t i = 0; i < std::size(signals); i++) sigaction(signals[i], &action, &state_->before[i]);
  state_->terminate_before = std::set_terminate(State::on_terminate);
}

CrashReport::~CrashReport() {
  if (!state_) return;
  std::set_terminate(state_->terminate_before);
  for (size_t i = 0; i < std::size(signals); i++) sigaction(signals[i], &state_->before[i], nullptr);
  if (state_->stack.ss_sp) {
    sigaltstack(&state_->stack_before, nullptr);
    munmap(state_->stack.ss_sp, stack_bytes);
  }
  State::installed = nullptr;
}

void CrashReport::agree_by(Communicator* communicator) noexcept {
  if (!state_) return;
  NodeGroup* node = communicator ? communicator->node() : nullptr;
  state_->several_hosts = node && node->size() < communicator->size();
  state_->node = node;
}

void CrashReport::record_in(const std::string& file, const std::string& begin) {
  if (!state_) return;
  state_->partial_file = file + ".partial";
  state_->json_begin = begin;
  state_->file = file;
}

}  // namespace levin::cli
