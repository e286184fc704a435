// Runs with a few MB of /dev/shm (see the script small_memory): every page that was promised can be written, what cannot be promised is an
// error or null on all ranks, and nobody dies of SIGBUS.
#include <ATen/ops/full.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin_test.h"

using levin::NodeGroup;
using levin::OnNoSpace;
using levin::test::check_throws;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(comm_small_memory, *boost::unit_test::disabled())

namespace {

size_t free_bytes() {
  struct statvfs stats {};
  BOOST_REQUIRE(statvfs("/dev/shm", &stats) == 0);
  return stats.f_bavail * stats.f_frsize;
}

using Windows = std::vector<std::shared_ptr<levin::SharedWindow>>;

/// Takes all there is, and writes to every byte of it.
Windows take_all(NodeGroup& group) {
  Windows windows;
  for (size_t bytes : {1 << 20, 64 << 10, 4 << 10})
    while (auto window = group.allocate(bytes, OnNoSpace::return_null)) windows.push_back(window);
  for (const auto& window : windows) std::memset(window->part(group.rank()), 1, window->part_bytes(group.rank()));
  return windows;
}

}  // namespace

BOOST_AUTO_TEST_CASE(it_is_small) { BOOST_REQUIRE(free_bytes() < (16 << 20)); }

BOOST_AUTO_TEST_CASE(too_large_is_an_error_on_all_ranks) {
  auto group = NodeGroup::create(runtime().communicator());
  const size_t have = free_bytes();
  group->barrier();
  check_throws<levin::IoError>([&] { group->allocate(64 << 20); },
                               {"/dev/shm is too small", std::to_string((64 << 20) * static_cast<size_t>(group->size())),
                                fmt::format("have {} bytes", have), "docker run --shm-size"});
  BOOST_TEST(!group->allocate(64 << 20, OnNoSpace::return_null));
  BOOST_TEST(!group->allocate(group->rank() == 0 ? 64 << 20 : 0, OnNoSpace::return_null));
  group->barrier();
  BOOST_TEST(free_bytes() == have);  // nothing is kept back
}

BOOST_AUTO_TEST_CASE(all_that_was_promised_can_be_written) {
  auto group = NodeGroup::create(runtime().communicator());
  auto windows = take_all(*group);
  BOOST_TEST(windows.size() > 2u);
  BOOST_TEST(free_bytes() < (64 << 10));
}

BOOST_AUTO_TEST_CASE(others_take_at_the_same_time) {
  auto group = NodeGroup::create(runtime().communicator());
  std::atomic<bool> done{false};
  // A stranger takes what is left, again and again, so that the free space is never what it was when somebody looked.
  std::thread stranger([&] {
    while (!done && group->rank() == 0) {
      const int file = open("/dev/shm/stranger", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
      for (off_t size = 64 << 10; size <= (8 << 20) && posix_fallocate(file, 0, size) == 0; size += 64 << 10) continue;
      unlink("/dev/shm/stranger");
      close(file);
    }
  });
  int granted = 0, refused = 0;
  for (int round = 0; round < 300; round++) {
    auto window = group->allocate(1 << 20, OnNoSpace::return_null);
    window ? granted++ : refused++;
    if (window) std::memset(window->part(group->rank()), 1, 1 << 20);
  }
  done = true;
  stranger.join();
  BOOST_TEST(granted > 0);
  BOOST_TEST(refused > 0);
}

BOOST_AUTO_TEST_CASE(collectives_go_on_in_a_full_memory) {
  auto comm = levin::Communicator::create_cpu(runtime());
  auto windows = take_all(*comm->node());
  check_throws<levin::IoError>([&] { comm->allocate(1 << 20, at::kFloat); }, {"/dev/shm", "need", "have"});
  for (int round = 0; round < 3; round++) {
    const auto tensor = at::full({300007}, comm->rank() + 1.0f);
    comm->all_reduce(tensor).wait();
    BOOST_TEST(tensor.eq(comm->size() * (comm->size() + 1) / 2).all().item<bool>());
  }
}

BOOST_AUTO_TEST_CASE(no_room_for_a_group) {
  auto group = NodeGroup::create(runtime().communicator());
  auto windows = take_all(*group);
  check_throws<levin::IoError>([&] { NodeGroup::create(runtime().communicator()); }, {"/dev/shm is too small"});
}

BOOST_AUTO_TEST_SUITE_END()
