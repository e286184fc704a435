#include "data_wait.h"

#include <chrono>
#include <utility>

#include "levin/data/loader.h"
#include "levin/session/session.h"

namespace levin {
namespace {

constexpr std::chrono::milliseconds at_once{0}, between_meetings{200};

}  // namespace

void DataWait::announce(Loader& loader, int64_t batches) {
  if (batches > 0 && !loader.wait(batches, at_once)) session_.request_data_wait();
}

void DataWait::announce_epoch(const Loader& loader) {
  if (loader.reads_ahead()) session_.request_data_wait();
}

void DataWait::note() {
  meets_ = session_.data_wait_wanted();
  session_.forget_data_wait();
}

bool DataWait::wait(Loader& loader, int64_t batches) {
  while (meets_) {
    if (!loader.wait(batches, between_meetings)) session_.request_data_wait();
    session_.exchange_requests();
    note();
    if (session_.must_exit()) return false;
  }
  return true;
}

}  // namespace levin
