#include "levin/comm/node_group.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "levin/comm/communicator.h"
#include "levin/comm/shared_buffer_pool.h"
#include "levin_test.h"

using levin::NodeGroup;
using levin::test::check_throws;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(comm_node_group)

namespace {

std::unique_ptr<NodeGroup> make_group() { return NodeGroup::create(runtime().communicator()); }

/// A fresh directory, the same on all ranks, for the files behind windows.
struct WindowDirectory {
  WindowDirectory() {
    char path[] = "/dev/shm/levin-test-XXXXXX";
    if (runtime().rank() == 0) BOOST_REQUIRE(mkdtemp(path));
    MPI_Bcast(path, sizeof(path), MPI_CHAR, 0, runtime().communicator());
    name = path;
  }
  ~WindowDirectory() {
    MPI_Barrier(runtime().communicator());
    if (runtime().rank() == 0) std::filesystem::remove_all(name);
  }
  bool empty() const { return std::filesystem::is_empty(name); }
  std::string name;
};

}  // namespace

BOOST_AUTO_TEST_CASE(exchange_gives_all_values_in_rank_order) {
  auto group = make_group();
  BOOST_TEST(group->size() == runtime().size());
  BOOST_TEST(group->rank() == runtime().rank());
  for (int round = 0; round < 2000; round++) {
    const size_t values = static_cast<size_t>(round) % NodeGroup::max_values + 1;
    std::vector<double> mine(values), all(values * static_cast<size_t>(group->size()));
    for (size_t i = 0; i < values; i++) mine[i] = group->rank() * 1e6 + round * 100 + static_cast<double>(i);
    group->exchange(mine, all);
    for (size_t i = 0; i < all.size(); i++)
      BOOST_REQUIRE_EQUAL(all[i], static_cast<double>(i / values) * 1e6 + round * 100 + static_cast<double>(i % values));
  }
}

BOOST_AUTO_TEST_CASE(exchange_refuses_what_does_not_fit) {
  auto group = make_group();
  std::vector<double> mine(NodeGroup::max_values + 1), all(mine.size() * static_cast<size_t>(group->size()));
  check_throws<levin::UsageError>([&] { group->exchange(mine, all); }, {"[comm]", "128 bytes"});
}

BOOST_AUTO_TEST_CASE(barrier_orders_plain_writes) {
  auto group = make_group();
  auto window = group->allocate(sizeof(int64_t));
  const auto cell = [&](int rank) -> int64_t& { return *reinterpret_cast<int64_t*>(window->part(rank)); };
  for (int64_t round = 1; round <= 5000; round++) {
    cell(group->rank()) = round;
    group->barrier();
    for (int i = 0; i < group->size(); i++) BOOST_REQUIRE_EQUAL(cell(i), round);
    group->barrier();
  }
}

BOOST_AUTO_TEST_CASE(windows_of_different_sizes_are_zero_and_shared) {
  const WindowDirectory directory;
  auto group = NodeGroup::create(runtime().communicator(), directory.name);
  const auto bytes_of = [](int rank) { return static_cast<size_t>(rank) * 100000 + (rank == 1 ? 0 : 3); };
  for (int round = 0; round < 3; round++) {
    auto window = group->allocate(bytes_of(group->rank()));
    BOOST_TEST(directory.empty());
    for (int i = 0; i < group->size(); i++) {
      BOOST_TEST(window->part_bytes(i) == bytes_of(i));
      BOOST_TEST(reinterpret_cast<uintptr_t>(window->part(i)) % 4096 == 0u);
      for (size_t k = 0; k < bytes_of(i); k++) BOOST_REQUIRE(window->part(i)[k] == std::byte{0});
    }
    group->barrier();
    for (size_t k = 0; k < bytes_of(group->rank()); k++) window->part(group->rank())[k] = static_cast<std::byte>(group->rank() + 7);
    group->barrier();
    for (int i = 0; i < group->size(); i++)
      for (size_t k = 0; k < bytes_of(i); k++) BOOST_REQUIRE(window->part(i)[k] == static_cast<std::byte>(i + 7));
    if (group->rank() != 0) window.reset();  // ranks drop it when they like
    group->barrier();
  }
}

BOOST_AUTO_TEST_CASE(window_outlives_its_group) {
  auto group = make_group();
  auto window = group->allocate(64);
  group->barrier();
  group.reset();
  window->part(runtime().rank())[5] = std::byte{1};
  BOOST_TEST((window->part(runtime().rank())[5] == std::byte{1}));
}

BOOST_AUTO_TEST_CASE(too_large_a_window_is_an_error_on_all_ranks) {
  const WindowDirectory directory;
  auto group = NodeGroup::create(runtime().communicator(), directory.name);
  if (group->size() == 1) return;  // plain memory: there is no file system to be short of
  const size_t bytes = group->rank() == 0 ? size_t{1} << 50 : 8;
  check_throws<levin::IoError>([&] { group->allocate(bytes); }, {"[comm]", directory.name, "1125899906", "need", "have", "remount"});
  BOOST_TEST(!group->allocate(bytes, levin::OnNoSpace::return_null));
  BOOST_TEST(group->allocate(8)->part_bytes(0) == 8u);  // the group is as good as before
  BOOST_TEST(directory.empty());
}

// Blocks that the files of a directory have, as the file system counts them: of unlinked ones, too.
size_t used_bytes(const std::string& directory) {
  struct statvfs stats {};
  BOOST_REQUIRE(statvfs(directory.c_str(), &stats) == 0);
  return (stats.f_blocks - stats.f_bfree) * stats.f_frsize;
}

BOOST_AUTO_TEST_CASE(shared_buffer_pool_is_there_while_somebody_holds_it) {
  const WindowDirectory directory;
  auto group = NodeGroup::create(runtime().communicator(), directory.name);
  const size_t large = size_t{8} << 20, small = size_t{4} << 20, ranks = static_cast<size_t>(group->size());
  const auto memory = group->allocate_buffer_pool({large, small, large, large, large});
  BOOST_TEST(directory.empty());
  const size_t before = used_bytes(directory.name);
  group->barrier();
  const auto has = [&](size_t bytes) {  // of the file system, which others use, too
    group->barrier();
    const double used = static_cast<double>(used_bytes(directory.name)) - static_cast<double>(before);
    if (ranks > 1) BOOST_TEST(std::abs(used - static_cast<double>(bytes)) < static_cast<double>(small) / 2);
    group->barrier();
  };
  for (int round = 0; round < 20; round++) {
    std::byte* start = memory->acquire(0);
    BOOST_TEST(reinterpret_cast<uintptr_t>(start) % 4096 == 0u);
    const size_t part = large / ranks;
    std::fill_n(start + part * static_cast<size_t>(group->rank()), part, static_cast<std::byte>(group->rank() + round));
    group->barrier();
    if (group->rank() == round % group->size() && ranks > 1) {  // what others hold stays
      memory->release(0);
      memory->release((memory->acquire(2), 2));
      start = memory->acquire(0);
    }
    for (int i = 0; i < group->size(); i++)
      for (size_t k = 0; k < part; k += 997) BOOST_REQUIRE((start[part * static_cast<size_t>(i) + k] == static_cast<std::byte>(i + round)));
    group->barrier();
    memory->release(0);
    group->barrier();
  }
  has(ranks > 1 ? 2 * large : large);  // kept for the next of their size
  for (const size_t buffer : {0, 2, 3, 4}) memory->acquire(buffer);
  has(4 * large);
  for (const size_t buffer : {3, 0, 4, 2}) memory->release(buffer);
  has(2 * large);
  memory->acquire(1);
  has(small);
  memory->release(1);
}

BOOST_AUTO_TEST_CASE(shared_buffer_pool_that_is_too_large) {
  const WindowDirectory directory;
  auto group = NodeGroup::create(runtime().communicator(), directory.name);
  if (group->size() == 1) return;
  const std::vector<size_t> bytes{100, size_t{1} << 50};
  check_throws<levin::IoError>([&] { group->allocate_buffer_pool(bytes); }, {"[comm]", directory.name, "need 2251799813", "have"});
  BOOST_TEST(!group->allocate_buffer_pool(bytes, levin::OnNoSpace::return_null));
  BOOST_TEST(directory.empty());
}

BOOST_AUTO_TEST_CASE(directory_that_is_not_there) {
  if (runtime().size() == 1) return;
  check_throws<levin::IoError>([&] { NodeGroup::create(runtime().communicator(), "/nowhere/at/all"); }, {"/nowhere/at/all"});
}

BOOST_AUTO_TEST_CASE(halves_work_at_once_and_outlive_the_whole) {
  auto group = make_group();
  const int color = group->rank() % 2;
  auto half = group->split(color, -group->rank());  // the other way round
  group.reset();
  std::vector<int> members;
  for (int i = runtime().size() - 1; i >= 0; i--)
    if (i % 2 == color) members.push_back(i);
  BOOST_TEST(half->size() == static_cast<int>(members.size()));
  BOOST_TEST(members[static_cast<size_t>(half->rank())] == runtime().rank());
  for (int round = 0; round < 1000 * (color + 1); round++) {  // the halves meet at different times
    const double mine = runtime().rank() * 10000 + round;
    std::vector<double> all(members.size());
    half->exchange({&mine, 1}, all);
    for (size_t i = 0; i < all.size(); i++) BOOST_REQUIRE_EQUAL(all[i], members[i] * 10000 + round);
  }
  auto window = half->allocate(10);
  BOOST_TEST(window->part_bytes(half->rank()) == 10u);
}

BOOST_AUTO_TEST_CASE(ranks_that_disagree_get_an_error) {
  auto group = make_group();
  if (group->size() == 1) return;
  const double mine[] = {1, 2};
  std::vector<double> all(2 * static_cast<size_t>(group->size()));
  const auto call = [&] {
    if (group->rank() == 0)
      group->barrier();
    else
      group->exchange(mine, all);
  };
  check_throws<levin::CommunicatorError>(call, {"disagree", "rank 0 is in a barrier", "exchanges 16 bytes"});
  group->barrier();  // no harm was done
}

BOOST_AUTO_TEST_CASE(abort_ends_every_wait) {
  auto group = make_group();
  auto part = group->split(group->rank() == 0 ? 0 : 1, 0);
  const int last = group->size() - 1;
  BOOST_TEST(!group->aborted());
  group->barrier();
  if (group->rank() == last) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    group->abort("the disk is full");
    part->abort("a later reason");  // the first one counts
  }
  const auto start = std::chrono::steady_clock::now();
  const std::vector<std::string> words{fmt::format("rank {} ended the job", last), "the disk is full"};
  check_throws<levin::CommunicatorAborted>(
      [&] {
        for (;;) group->rank() % 2 == 0 ? group->barrier() : part->barrier();
      },
      words);
  BOOST_TEST(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 1.0);
  BOOST_TEST(group->aborted());
  BOOST_TEST(part->aborted());
  check_throws<levin::CommunicatorAborted>([&] { group->allocate(8); }, words);
  check_throws<levin::CommunicatorAborted>([&] { part->barrier(); }, words);
  check_throws<levin::CommunicatorAborted>([&] { part->split(0, 0); }, words);
}

BOOST_AUTO_TEST_CASE(long_reason_is_cut) {
  auto group = make_group();
  if (group->rank() == 0) group->abort(std::string(100000, 'x'));
  check_throws<levin::CommunicatorAborted>(
      [&] {
        for (;;) group->barrier();
      },
      {"rank 0", "xxxx"});
}

BOOST_AUTO_TEST_SUITE_END()
