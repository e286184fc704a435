// What the NCCL path computes, with streams that run late and in any order.
#include <algorithm>
#include <set>
#include <thread>

#include "../../../src/parallel/flat_buffer.h"
#include "../../../src/parallel/slot_ring.h"
#include "levin/comm/node_group.h"
#include "meeting.h"
#include "nccl_job.h"
#include "nccl_start.h"

using levin::ReduceOp, levin::Tensor, levin::Transfer;
using levin::test::all_are, levin::test::check_throws, levin::test::device_tensor, levin::test::fill, levin::test::fill_up,
    levin::test::NcclJob, levin::test::values;
using stand_in::nccl_findings, stand_in::nccl_settings;
using Kind = stand_in::Call::Kind;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(cuda_stand_ins)

namespace {

// Every collective, its inputs written just before and overwritten just after.
void run_collectives(levin::Communicator& ranks, const Tensor& part, const Tensor& whole, int rounds) {
  const auto size = static_cast<float>(ranks.size()), rank = static_cast<float>(ranks.rank());
  const int64_t numel = part.numel();
  for (int round = 0; round < rounds; round++) {
    const auto base = static_cast<float>(round);
    fill(part, rank + base);
    ranks.all_reduce(part).wait();
    BOOST_TEST(all_are(part, size * (size - 1) / 2 + size * base));
    fill(part, rank + base);
    ranks.all_reduce(part, ReduceOp::max).wait();
    BOOST_TEST(all_are(part, size - 1 + base));
    fill(part, rank + base);
    ranks.all_gather(whole, part).wait();
    fill(part, -1);
    for (int other = 0; other < ranks.size(); other++)
      BOOST_TEST(all_are(whole.narrow(0, other * numel, numel), static_cast<float>(other) + base));
    fill_up(whole, base);
    ranks.reduce_scatter(part, whole, ReduceOp::mean).wait();
    fill(whole, -1);
    const auto mean = values(part);
    for (const int64_t i : {int64_t{0}, numel - 1})
      BOOST_TEST(mean[static_cast<size_t>(i)] == base + static_cast<float>(ranks.rank() * numel + i));
    fill(part, rank + base);
    ranks.broadcast(part, ranks.size() - 1).wait();
    BOOST_TEST(all_are(part, size - 1 + base));
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_collective_under_random_delays) {
  NcclJob job;
  auto& ranks = job.start();
  stand_in::cuda_settings().delay_us = 500;
  nccl_settings().delay_us = 200;
  run_collectives(ranks, ranks.allocate(500, at::kFloat), ranks.allocate(500 * job.size(), at::kFloat), 6);
  run_collectives(ranks, device_tensor(300), device_tensor(300 * job.size()), 4);
}

BOOST_AUTO_TEST_CASE(a_result_is_readable_after_synchronize) {
  NcclJob job;
  auto& ranks = job.start();
  const Tensor tensor = device_tensor(100);
  stand_in::cuda_settings().delay_us = 2000;
  fill(tensor, 1);
  auto work = ranks.all_reduce(tensor);
  work.synchronize();
  BOOST_TEST(static_cast<const float*>(tensor.const_data_ptr())[99] == static_cast<float>(job.size()));
  work.synchronize();  // again, it does nothing
}

// A Work that nobody waits for, and one that outlives its communicator.
BOOST_AUTO_TEST_CASE(works_that_are_dropped_or_kept) {
  NcclJob job;
  auto& ranks = job.start();
  stand_in::cuda_settings().delay_us = 500;
  for (int round = 0; round < 20; round++) {
    const Tensor tensor = device_tensor(1000);
    fill(tensor, 1);
    ranks.all_reduce(tensor);
  }
  const Tensor tensor = device_tensor(10);
  fill(tensor, 2);
  auto work = ranks.all_reduce(tensor);
  job.stop();
  work.wait();
  BOOST_TEST(all_are(tensor, 2.F * static_cast<float>(job.size())));
}

BOOST_AUTO_TEST_CASE(messages_and_all_to_all) {
  NcclJob job;
  auto& ranks = job.start();
  stand_in::cuda_settings().delay_us = 300;
  const int size = job.size(), rank = job.rank(), right = (rank + 1) % size, left = (rank + size - 1) % size;
  const Tensor mine = device_tensor(1000), theirs = device_tensor(1000);
  for (int round = 0; round < 5; round++) {
    fill(mine, static_cast<float>(rank + round));
    const Transfer ring[] = {{Transfer::Direction::send, mine, right}, {Transfer::Direction::recv, theirs, left}};
    ranks.transfer(ring, "ring").wait();
    fill(mine, -1);
    BOOST_TEST(all_are(theirs, static_cast<float>(left + round)));
  }
  if (size > 1 && rank < 2) {
    fill(mine, 7);
    (rank == 0 ? ranks.send(mine, 1) : ranks.recv(theirs, 0)).wait();
    BOOST_TEST(all_are(rank == 0 ? mine : theirs, 7));
  }
  const Tensor parts = device_tensor(3 * size), received = device_tensor(3 * size);
  fill(parts, static_cast<float>(rank));
  ranks.all_to_all(received, parts).wait();
  for (int other = 0; other < size; other++) BOOST_TEST(all_are(received.narrow(0, 3 * other, 3), static_cast<float>(other)));
  // Rank r gets r + 1 elements of each rank.
  std::vector<int64_t> sent, expected(static_cast<size_t>(size), rank + 1);
  for (int other = 0; other < size; other++) sent.push_back(other + 1);
  const Tensor input = device_tensor(size * (size + 1) / 2), output = device_tensor(static_cast<int64_t>(size) * (rank + 1));
  fill(input, static_cast<float>(rank));
  ranks.all_to_all(output, expected, input, sent).wait();
  for (int other = 0; other < size; other++) BOOST_TEST(all_are(output.narrow(0, other * (rank + 1), rank + 1), static_cast<float>(other)));
}

BOOST_AUTO_TEST_CASE(unsupported_tensors_are_refused) {
  NcclJob job;
  auto& ranks = job.start();
  const Tensor tensor = device_tensor(3);
  check_throws<levin::UsageError>([&] { ranks.broadcast(tensor, 99); }, {"[cuda]", "rank 99"});
  check_throws<levin::UsageError>([&] { ranks.send(tensor, job.size()); }, {"[cuda]", "rank"});
  check_throws<levin::UsageError>([&] { ranks.all_to_all(tensor, std::vector<int64_t>{7}, tensor, std::vector<int64_t>{7}); },
                                  {"all_to_all"});
  check_throws<levin::UsageError>([&] { ranks.all_gather(tensor, device_tensor(2)); }, {"whole", "part"});
  check_throws<levin::UsageError>([&] { ranks.gather_shared(tensor, ""); }, {"all_gather"});
  check_throws<levin::UsageError>([&] { ranks.all_reduce(Tensor()); }, {"undefined"});
}

// As above 1,024 ranks.
BOOST_AUTO_TEST_CASE(several_ids_start_one_communicator) {
  BOOST_TEST(levin::number_of_ids(1) == 1);
  BOOST_TEST(levin::number_of_ids(1024) == 1);
  BOOST_TEST(levin::number_of_ids(1025) == 3);
  BOOST_TEST(levin::number_of_ids(4096) == 8);
  NcclJob job;
  std::vector<ncclUniqueId> ids(2);
  for (auto& id : ids) {
    if (job.rank() == 0) BOOST_REQUIRE(ncclGetUniqueId(&id) == ncclSuccess);
    MPI_Bcast(&id, sizeof(id), MPI_BYTE, 0, levin::test::runtime().communicator());
  }
  const auto link = levin::NcclLink::connect(ids, job.rank(), job.size(), {c10::Device(c10::kCUDA, 0), [] {}, 10s, "", "of two ids"});
  BOOST_TEST(link->failure() == "");
  BOOST_TEST(stand_in::communicator_names().back() == "of two ids");
}

BOOST_AUTO_TEST_CASE(splits_have_names_and_share_resources) {
  NcclJob job;
  auto& ranks = job.start();
  const auto reversed = ranks.split(0, -job.rank()), alone = ranks.split(job.rank(), 0);
  BOOST_TEST(reversed->rank() == job.size() - 1 - job.rank());
  BOOST_TEST(alone->size() == 1);
  const Tensor value = device_tensor(1);
  fill(value, 1);
  reversed->all_reduce(value).wait();
  alone->all_reduce(value).wait();
  BOOST_TEST(all_are(value, static_cast<float>(job.size())));
  BOOST_TEST(nccl_findings().shared_splits == 2);
  const auto names = stand_in::communicator_names();
  const std::set<std::string> last(names.end() - 3, names.end());
  BOOST_TEST(last.size() == 3);
  BOOST_TEST(!last.contains(""));
}

// While the device computes, and the collective waits for it.
BOOST_AUTO_TEST_CASE(a_split_waits_for_outstanding_collectives) {
  NcclJob job;
  auto& ranks = job.start();
  const Tensor tensor = device_tensor(10);
  stand_in::launch(c10::cuda::getCurrentCUDAStream().stream(), [] { std::this_thread::sleep_for(200ms); });
  fill(tensor, 1);
  auto work = ranks.all_reduce(tensor);
  const auto part = ranks.split(0, job.rank());
  work.wait();
  part->all_reduce(tensor).wait();
  BOOST_TEST(all_are(tensor, static_cast<float>(job.size() * job.size())));
}

// Gradients of two units: over the ranks of a shard, then over the replicas, each as soon as its scatter is through, as hsdp does. Devices
// favour one kind or the other, so that only the order of the calls keeps four ranks from waiting in a circle for one slot.
BOOST_AUTO_TEST_CASE(two_communicators_at_once) {
  for (const int slots : {8, 1}) {
    NcclJob job;
    auto& ranks = job.start();
    nccl_settings().slots = slots;
    stand_in::cuda_settings().delay_us = 100;
    nccl_settings().late_kind = static_cast<int>((job.rank() / 2 + job.rank()) % 2 == 0 ? Kind::all_reduce : Kind::reduce_scatter);
    const int shard_size = job.size() % 2 == 0 ? 2 : 1;
    const auto shard = ranks.split(job.rank() / shard_size, job.rank()), replicas = ranks.split(job.rank() % shard_size, job.rank());
    const Tensor wholes[] = {ranks.allocate(1000 * shard_size, at::kFloat), ranks.allocate(1000 * shard_size, at::kFloat)};
    const Tensor parts[] = {ranks.allocate(1000, at::kFloat), ranks.allocate(1000, at::kFloat)};
    for (int round = 0; round < 20; round++) {
      levin::Work scattered[2];
      for (const size_t unit : {size_t{1}, size_t{0}}) {
        fill(wholes[unit], static_cast<float>(unit + 1));
        scattered[unit] = shard->reduce_scatter(parts[unit], wholes[unit]);
      }
      for (const size_t unit : {size_t{1}, size_t{0}}) {
        scattered[unit].wait();
        replicas->all_reduce(parts[unit]).wait();
      }
      for (const size_t unit : {size_t{1}, size_t{0}})
        BOOST_TEST(all_are(parts[unit], static_cast<float>(unit + 1) * static_cast<float>(job.size())));
    }
  }
}

BOOST_AUTO_TEST_CASE(registration_is_of_all_ranks_or_none) {
  for (const bool registers : {true, false}) {
    NcclJob job;
    auto& ranks = job.start();
    nccl_settings().without_windows = true;
    nccl_settings().without_registration = !registers && job.last();
    const Tensor memory = ranks.allocate(100, at::kFloat);
    BOOST_TEST(all_are(memory, 0));
    fill(memory, 1);
    ranks.all_reduce(memory).wait();
    BOOST_TEST(all_are(memory, static_cast<float>(job.size())));
    BOOST_TEST((nccl_findings().registered_calls > 0) == registers);
    BOOST_TEST(nccl_findings().registrations - nccl_findings().deregistrations == (registers ? 1 : 0));
  }
}

BOOST_AUTO_TEST_CASE(windows_are_of_all_ranks_or_none) {
  for (const bool windows : {true, false}) {
    NcclJob job;
    auto& ranks = job.start();
    nccl_settings().without_windows = !windows && job.last();
    const Tensor memory = ranks.allocate(100, at::kFloat);
    BOOST_TEST(all_are(memory, 0));
    fill(memory, 1);
    ranks.all_reduce(memory).wait();
    BOOST_TEST(all_are(memory, static_cast<float>(job.size())));
    BOOST_TEST(nccl_findings().registered_calls == 1);
    BOOST_TEST(nccl_findings().windows == (windows || !job.last() ? 1 : 0));
    BOOST_TEST(nccl_findings().registrations == (windows ? 0 : 1));
  }
}

// A shard in another dtype is converted into its place, and zero1 gathers what it has updated.
BOOST_AUTO_TEST_CASE(windows_in_place) {
  NcclJob job;
  auto& ranks = job.start();
  const Tensor whole = ranks.allocate(100 * job.size(), at::kFloat), part = whole.narrow(0, 100 * job.rank(), 100);
  fill(part, static_cast<float>(job.rank()));
  ranks.all_gather(whole, part).wait();
  for (int other = 0; other < job.size(); other++) BOOST_TEST(all_are(whole.narrow(0, 100 * other, 100), static_cast<float>(other)));
  ranks.reduce_scatter(part, whole).wait();
  BOOST_TEST(all_are(part, static_cast<float>(job.rank() * job.size())));
  BOOST_TEST(nccl_findings().registered_calls == 2);
}

// A rank that frees a window earlier than the others keeps it, so that the next window gets the same address on all. The device is idle
// before each allocation: then nothing but the agreement keeps a window.
BOOST_AUTO_TEST_CASE(windows_are_freed_in_agreement) {
  NcclJob job;
  auto& ranks = job.start();
  Tensor first = ranks.allocate(100, at::kFloat), second = ranks.allocate(200, at::kFloat);
  fill(first, 1);
  ranks.all_reduce(first).wait();
  BOOST_TEST(all_are(first, static_cast<float>(job.size())));
  if (!job.last()) first.reset();
  second.reset();
  cudaDeviceSynchronize();
  const Tensor third = ranks.allocate(300, at::kFloat);
  BOOST_TEST(nccl_findings().deregistrations == (job.size() == 1 ? 1 : 0));
  first.reset();
  cudaDeviceSynchronize();
  const Tensor fourth = ranks.allocate(400, at::kFloat);
  BOOST_TEST(nccl_findings().deregistrations == 2);
  for (const auto& tensor : {third, fourth}) {  // the stand-in compares their addresses
    fill(tensor, 2);
    ranks.all_reduce(tensor).wait();
    BOOST_TEST(all_are(tensor, 2.F * static_cast<float>(job.size())));
  }
  BOOST_TEST(nccl_findings().unequal_offsets == 0);
  BOOST_TEST(nccl_findings().windows == 4);
}

// Units of fsdp, gathered and reduced in slots, by ranks that reshard at different times and collect gradients in different orders.
BOOST_AUTO_TEST_CASE(slots_of_an_arena_are_symmetric) {
  constexpr int64_t part = 128;
  constexpr size_t units = 5;
  NcclJob job;
  auto& ranks = job.start();
  stand_in::cuda_settings().delay_us = 200;
  const int64_t numel = part * job.size(), bytes = numel * 4;
  levin::CollectiveArena arena(ranks, 3 * levin::CollectiveArena::padded(bytes) + units * levin::CollectiveArena::padded(part * 4));
  std::vector<Tensor> slots, shards;
  for (int i = 0; i < 3; i++) slots.push_back(arena.cut(levin::CollectiveArena::padded(bytes), at::kByte));
  for (size_t i = 0; i < units; i++) shards.push_back(arena.cut(part, at::kFloat));
  levin::MemoryMeter meter;
  levin::BufferPool pool(meter);
  levin::SlotRing ring(slots);
  std::vector<levin::Work> works(units);
  std::vector<levin::FlatBuffer> buffers;
  buffers.reserve(units);
  for (size_t unit = 0; unit < units; unit++)
    buffers.emplace_back(numel, at::kFloat, ranks.device(), levin::MemoryKind::parameters, pool).use_ring(&ring, [&works, unit] {
      works[unit].wait();
    });
  for (int round = 0; round < 4; round++) {
    for (size_t unit = 0; unit < units; unit++) {  // gathers: the last rank reshards late
      fill(shards[unit], static_cast<float>(job.rank()) + static_cast<float>(unit));
      buffers[unit].fill_for_collective();
      works[unit] = ranks.all_gather(buffers[unit].tensor(), shards[unit]);
      works[unit].wait();
      const size_t kept = job.last() ? 4 : 1;
      if (unit >= kept) buffers[unit - kept].drop();
    }
    for (int other = 0; other < job.size(); other++)
      BOOST_TEST(all_are(buffers[units - 1].tensor().narrow(0, other * part, part), static_cast<float>(other) + units - 1));
    if (job.last()) BOOST_TEST(all_are(buffers[1].tensor().narrow(0, 0, part), 1));  // it has moved
    for (auto& buffer : buffers) buffer.drop();
    for (size_t i = 0; i < units; i++) {  // gradients: the last rank collects them in another order
      const size_t unit = job.last() ? units - 1 - i : i;
      buffers[unit].fill();
      fill(buffers[unit].tensor(), static_cast<float>(unit + 1));
    }
    for (size_t unit = 0; unit < units; unit++) {
      buffers[unit].fill_for_collective();
      works[unit] = ranks.reduce_scatter(shards[unit], buffers[unit].tensor());
    }
    for (size_t unit = 0; unit < units; unit++) {
      works[unit].wait();
      BOOST_TEST(all_are(shards[unit], static_cast<float>(unit + 1) * static_cast<float>(job.size())));
      buffers[unit].drop();
    }
  }
  BOOST_TEST(nccl_findings().windows == 1);
  BOOST_TEST(nccl_findings().registered_calls == 4 * 2 * static_cast<int>(units));
}

BOOST_AUTO_TEST_CASE(a_rank_without_memory_is_a_matter_of_all) {
  NcclJob job;
  auto& ranks = job.start();
  nccl_settings().without_memory = job.rank() == 0;
  const Tensor memory = ranks.allocate(100, at::kFloat), empty = ranks.allocate(0, at::kFloat);
  BOOST_TEST(all_are(memory, 0));
  BOOST_TEST(empty.numel() == 0);
  fill(memory, 1);
  ranks.all_reduce(memory).wait();
  BOOST_TEST(all_are(memory, static_cast<float>(job.size())));
  BOOST_TEST(nccl_findings().registrations == 0);
}

BOOST_AUTO_TEST_CASE(freeing_memory_does_not_wait_for_the_device) {
  NcclJob job;
  auto& ranks = job.start();
  nccl_settings().without_windows = true;
  stand_in::cuda_settings().delay_us = 1000;
  Tensor memory = ranks.allocate(100, at::kFloat);
  const int64_t before = stand_in::cuda_counters().device_synchronizations;
  fill(memory, 1);
  auto work = ranks.all_reduce(memory);
  memory.reset();
  work = {};  // the last owner
  BOOST_TEST(stand_in::cuda_counters().device_synchronizations == before);
  c10::cuda::getCurrentCUDAStream().synchronize();
  for (int turns = 0; nccl_findings().deregistrations == 0 && turns < 500; turns++)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  BOOST_TEST(nccl_findings().deregistrations == 1);
  BOOST_TEST(stand_in::cuda_counters().device_synchronizations == before);
}

// Communicators that share resources take one call at a time. A thread frees memory of one while another call waits for a late rank.
BOOST_AUTO_TEST_CASE(memory_is_deregistered_between_calls) {
  NcclJob job;
  auto& ranks = job.start();
  nccl_settings().without_windows = true;
  const auto part = ranks.split(0, job.rank());
  Tensor memory = ranks.allocate(100, at::kFloat);
  const Tensor tensor = device_tensor(10);
  fill(memory, 1);
  fill(tensor, 1);
  ranks.all_reduce(memory).synchronize();
  nccl_settings().connect_at_first_call = true;  // of the part
  levin::test::meet();
  memory.reset();
  if (job.last()) std::this_thread::sleep_for(300ms);
  part->all_reduce(tensor).wait();
  BOOST_TEST(all_are(tensor, static_cast<float>(job.size())));
  for (int turns = 0; nccl_findings().deregistrations == 0 && turns < 500; turns++) std::this_thread::sleep_for(10ms);
  BOOST_TEST(nccl_findings().deregistrations == 1);
}

// The watch is not held up by memory that cannot be freed while a call waits for a rank that does not come.
BOOST_AUTO_TEST_CASE(memory_that_waits_for_a_call_delays_no_time_out) {
  if (levin::test::runtime().size() == 1) return;
  NcclJob job(1s);
  auto& ranks = job.start();
  nccl_settings().without_windows = true;
  Tensor memory = ranks.allocate(100, at::kFloat);
  nccl_settings().connect_at_first_call = true;
  levin::test::meet();
  memory.reset();
  const auto run = [&] {
    if (job.rank() != 0) ranks.all_reduce(device_tensor(10)).synchronize();
    for (int turns = 0; turns < 2000; turns++) {
      ranks.cpu().barrier();
      std::this_thread::sleep_for(10ms);
    }
  };
  check_throws<levin::CommunicatorAborted>(run, {"all_reduce number", "missing: rank 0 on "});
}

BOOST_AUTO_TEST_CASE(memory_outlives_its_communicator) {
  NcclJob job;
  const Tensor memory = job.start().allocate(10, at::kFloat);
  fill(memory, 1);
  job.ranks().all_reduce(memory).wait();
  job.stop();
  BOOST_TEST(all_are(memory, static_cast<float>(job.size())));
}

BOOST_AUTO_TEST_SUITE_END()
