#include "batch_fit.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <new>
#include <string_view>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/session/session.h"

namespace levin {

namespace {

// Of an error or what it was made from.
template <class Predicate>
bool any_cause(const std::exception& error, const Predicate& is_wanted) noexcept {
  if (is_wanted(error)) return true;
  const auto* outer = dynamic_cast<const std::nested_exception*>(&error);
  if (!outer || !outer->nested_ptr()) return false;
  try {
    outer->rethrow_nested();
  } catch (const std::exception& inner) {
    return any_cause(inner, is_wanted);
  } catch (...) {
    return false;
  }
}

bool torch_says(const std::exception& error, std::string_view words) {
  const auto* of_torch = dynamic_cast<const c10::Error*>(&error);
  return of_torch && std::string_view(of_torch->what_without_backtrace()).find(words) != std::string_view::npos;
}

}  // namespace

bool is_out_of_memory(const std::exception& error) noexcept {
  return any_cause(error, [](const std::exception& cause) {
    return dynamic_cast<const std::bad_alloc*>(&cause) || dynamic_cast<const c10::OutOfMemoryError*>(&cause) ||
           torch_says(cause, "DefaultCPUAllocator");
  });
}

bool is_too_few_samples(const std::exception& error) noexcept {
  return any_cause(error, [](const std::exception& cause) { return torch_says(cause, "Expected more than 1 value per channel"); });
}

BatchFitAgreement::BatchFitAgreement(Session& session, bool may_not_fit, bool communicates)
    : session_(session), may_not_fit_(may_not_fit), agrees_(may_not_fit && (session.size() == 1 || !communicates)) {}

void BatchFitAgreement::agree(BatchFit fit) {
  agreed_ = true;
  const auto worst = static_cast<BatchFit>(all_max(session_.communicator(), static_cast<int64_t>(fit)));
  if (worst != BatchFit::fits) throw UnfitBatch{worst};
}

void BatchFitAgreement::refuse(const std::exception& error) {
  const bool out_of_memory = is_out_of_memory(error);
  if (!may_not_fit_ || (!out_of_memory && !is_too_few_samples(error))) throw;
  const bool alone = !agrees_ || agreed_;
  if (alone && !out_of_memory) throw;
  if (alone)
    throw Error(ExitCode::internal, "trainer", fmt::format("out of memory in a trial where the ranks communicate: {}", error.what()),
                "limit the batch sizes that are tried, or try them with --trainer.strategy ddp and without sync_batchnorm");
  const auto fit = out_of_memory ? BatchFit::out_of_memory : BatchFit::too_few_samples;
  agree(fit);
  throw UnfitBatch{fit};
}

void BatchFitAgreement::end_batch() {
  if (agrees_ && !agreed_) agree(BatchFit::fits);
}

}  // namespace levin
