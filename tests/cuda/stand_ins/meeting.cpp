#include "meeting.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace stand_in {

struct Meeting::Table {
  Seat seats[most_ranks];
  std::byte areas[most_ranks][area_bytes];
  Mailbox mailboxes[most_ranks][most_ranks];
};

Meeting::Meeting(const std::string& path, int rank, int size, const std::atomic<bool>& aborted)
    : rank_(rank), size_(size), aborted_(aborted) {
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  void* memory = file < 0 || ftruncate(file, sizeof(Table)) != 0
                     ? MAP_FAILED
                     : mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED || size > most_ranks) {
    std::perror("the stand-in for libnccl cannot map its file");
    std::abort();
  }
  close(file);
  table_ = static_cast<Table*>(memory);
  gate();
  if (rank == 0) unlink(path.c_str());
}

Meeting::~Meeting() { munmap(table_, sizeof(Table)); }

Seat& Meeting::seat(int rank) const { return table_->seats[rank]; }
std::byte* Meeting::area(int rank) const { return table_->areas[rank]; }
Mailbox& Meeting::mailbox(int from, int to) const { return table_->mailboxes[from][to]; }

bool Meeting::wait(const std::function<bool()>& condition) const {
  for (int turns = 0; !condition(); turns++) {
    if (aborted_) return false;
    if (turns < 50)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(turns < 20000 ? 50 : 5000));
  }
  return !aborted_;
}

bool Meeting::wait_for_seats(const std::function<bool(const Seat&)>& condition) const {
  for (int rank = 0; rank < size_; rank++)
    if (!wait([&] { return condition(seat(rank)); })) return false;
  return true;
}

bool Meeting::gate() {
  const uint64_t number = ++gates_;
  mine().gate = number;
  return wait_for_seats([number](const Seat& seat) { return seat.gate >= number; });
}

}  // namespace stand_in
