#include "nccl_watch.h"

#include <fmt/ranges.h>
#include <sys/prctl.h>

#include "levin/comm/node_group.h"

namespace levin {
namespace {

using namespace std::chrono_literals;
constexpr auto interval = 20ms;
constexpr auto patience_for_answers = 2s;

}  // namespace

NcclWatch::NcclWatch(std::shared_ptr<NcclLink> link, std::shared_ptr<Communicator> host, std::shared_ptr<NcclMemory> memory,
                     std::unique_ptr<RollCall> roll_call, Options options)
    : link_(std::move(link)),
      host_(std::move(host)),
      memory_(std::move(memory)),
      roll_call_(std::move(roll_call)),
      options_(std::move(options)),
      thread_([this] { loop(); }) {}

NcclWatch::~NcclWatch() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void NcclWatch::add(std::shared_ptr<NcclOperation> operation) {
  const std::lock_guard lock(mutex_);
  called_++;
  operations_.push_back(std::move(operation));
}

void NcclWatch::loop() {
  prctl(PR_SET_NAME, "levin-nccl");
  cudaSetDevice(options_.device.index());
  std::unique_lock lock(mutex_);
  bool more = true;
  while (more && !wake_.wait_for(lock, interval, [this] { return stop_; })) {
    lock.unlock();
    more = check();
    lock.lock();
  }
  over_ = true;
  wake_.notify_all();
}

bool NcclWatch::check() {
  std::string reason;
  try {
    advance();
    roll_call_->answer(position());
    memory_->free_retired();
    if (const std::string failure = link_->failure(); !failure.empty())
      reason = fmt::format("[cuda] NCCL failed: {}", failure);
    else if (const auto operation = late())
      reason = report(*operation);
  } catch (const std::exception& error) {  // of CUDA: the device is lost
    reason = fmt::format("[cuda] the device failed: {}", std::string_view(error.what()).substr(0, 500));
  }
  if (reason.empty() && !host_->node()->aborted()) return true;
  if (!reason.empty()) host_->abort(reason);
  link_->abort();
  return false;
}

void NcclWatch::advance() {
  const std::lock_guard lock(mutex_);
  for (; !operations_.empty(); operations_.pop_front(), through_++, reached_.reset()) {
    const auto& oldest = *operations_.front();
    if (oldest.queued && oldest.done.query()) continue;
    if (!reached_ && oldest.reached.query()) reached_ = Clock::now();
    break;
  }
}

bool NcclWatch::idle() {
  const std::lock_guard lock(mutex_);
  return operations_.empty();
}

std::shared_ptr<NcclOperation> NcclWatch::late() {
  const std::lock_guard lock(mutex_);
  const bool late = !operations_.empty() && reached_ && Clock::now() - *reached_ > options_.timeout;
  return late ? operations_.front() : nullptr;
}

RollCall::Position NcclWatch::position() {
  const std::lock_guard lock(mutex_);
  return {called_, through_ + (reached_ ? 1 : 0)};
}

bool NcclWatch::wait_until_idle(std::chrono::milliseconds patience) noexcept {
  const auto end = Clock::now() + patience;
  try {
    for (int turns = 0;; turns++) {
      advance();
      if (idle()) return true;
      std::unique_lock lock(mutex_);
      if (over_ || Clock::now() > end) return false;
      wake_.wait_for(lock, turns < 100 ? 100us : 2ms);
    }
  } catch (const std::exception&) {
    return false;
  }
}

std::string NcclWatch::report(const NcclOperation& operation) {
  const auto mine = position();
  const auto positions = roll_call_->ask(mine, patience_for_answers, [this] { return host_->node()->aborted(); });
  std::vector<std::string> missing;
  for (size_t rank = 0; rank < positions.size(); rank++) {
    const auto& name = options_.rank_names[rank];
    const auto& position = positions[rank];
    if (!position)
      missing.push_back(name + " (no answer)");
    else if (position->called < mine.reached)
      missing.push_back(fmt::format("{} ({} of {} calls)", name, position->called, mine.reached));
    else if (position->reached < mine.reached)
      missing.push_back(name + " (called, its device is busy before it)");
  }
  const std::string_view which = options_.name.empty() ? "" : " of communicator ";
  return fmt::format("[cuda] {}{}{} is not through after {:g} s on {}: {}", operation.call.describe(), which, options_.name,
                     std::chrono::duration<double>(options_.timeout).count(), options_.rank_names[static_cast<size_t>(host_->rank())],
                     missing.empty() ? std::string("all ranks have reached it, so NCCL or the network hangs (NCCL_DEBUG=INFO)")
                                     : fmt::format("missing: {}", fmt::join(missing, ", ")));
}

}  // namespace levin
