#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "../../src/parallel/flat_buffer.h"
#include "../../src/parallel/slot_ring.h"
#include "needs_a_gpu.h"

using levin::ReduceOp, levin::Tensor;
using levin::test::check_throws, levin::test::runtime;

BOOST_AUTO_TEST_SUITE(cuda_nccl_communicator, *boost::unit_test::fixture(&levin::test::needs_a_gpu))

namespace {

struct Gpu {
  std::unique_ptr<levin::Accelerator> accelerator = levin::AcceleratorRegistry().create("cuda");
  levin::Topology topology = levin::Topology::discover(runtime());
  c10::Device device = accelerator->device(topology.self().local_rank, topology.local_size());
  std::unique_ptr<levin::Communicator> ranks = accelerator->communicator(runtime(), {}, device);
  at::TensorOptions options(at::ScalarType dtype) const { return at::TensorOptions(device).dtype(dtype); }
};

// With fewer GPUs than ranks there is another test: the_ranks_have_gpus_of_their_own.
#define SKIP_WITHOUT_GPUS_FOR_ALL() \
  if (!levin::test::enough_gpus()) return

}  // namespace

BOOST_AUTO_TEST_CASE(each_rank_has_its_own_gpu) {
  if (levin::test::enough_gpus())
    BOOST_TEST(Gpu().ranks->size() == runtime().size());
  else
    check_throws<levin::ConfigError>([] { Gpu(); }, {"[cuda]", std::to_string(runtime().size()) + " ranks", "GPU"});
}

BOOST_AUTO_TEST_CASE(reductions_of_every_dtype) {
  SKIP_WITHOUT_GPUS_FOR_ALL();
  const Gpu gpu;
  const int size = gpu.ranks->size(), rank = gpu.ranks->rank();
  for (const auto dtype : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kInt, at::kLong}) {
    for (const int64_t numel : {int64_t{1}, int64_t{1000}, int64_t{3} << 20}) {
      const auto mine = [&] { return at::full({numel}, rank + 1, gpu.options(dtype)); };
      const auto expect = [&](const Tensor& tensor, double value) {
        BOOST_TEST(at::equal(tensor, at::full_like(tensor, value)), c10::toString(dtype) << " of " << numel);
      };
      Tensor tensor = mine();
      gpu.ranks->all_reduce(tensor).wait();
      expect(tensor, size * (size + 1) / 2.0);
      gpu.ranks->all_reduce(tensor = mine(), ReduceOp::max).wait();
      expect(tensor, size);
      gpu.ranks->all_reduce(tensor = mine(), ReduceOp::min).wait();
      expect(tensor, 1);
      if (!at::isFloatingType(dtype)) continue;
      gpu.ranks->all_reduce(tensor = mine(), ReduceOp::mean).wait();
      expect(tensor, (size + 1) / 2.0);
    }
  }
}

BOOST_AUTO_TEST_CASE(parts_go_where_they_belong) {
  SKIP_WITHOUT_GPUS_FOR_ALL();
  const Gpu gpu;
  const int64_t size = gpu.ranks->size(), rank = gpu.ranks->rank(), n = 1000;
  const Tensor whole = at::arange(size * n, gpu.options(at::kFloat)), part = at::zeros({n}, gpu.options(at::kFloat));
  gpu.ranks->reduce_scatter(part, whole).wait();
  BOOST_TEST(at::equal(part, whole.narrow(0, rank * n, n) * size));
  const Tensor gathered = at::zeros_like(whole);
  gpu.ranks->all_gather(gathered, whole.narrow(0, rank * n, n).contiguous()).wait();
  BOOST_TEST(at::equal(gathered, whole));
  const Tensor flags = at::full({3}, rank == size - 1, gpu.options(at::kBool));
  gpu.ranks->broadcast(flags, static_cast<int>(size) - 1).wait();
  BOOST_TEST(flags.all().item<bool>());
}

BOOST_AUTO_TEST_CASE(messages_and_all_to_all) {
  SKIP_WITHOUT_GPUS_FOR_ALL();
  const Gpu gpu;
  const int size = gpu.ranks->size(), rank = gpu.ranks->rank(), right = (rank + 1) % size, left = (rank + size - 1) % size;
  const Tensor mine = at::full({1000}, rank, gpu.options(at::kHalf)), theirs = at::full({1000}, -1, gpu.options(at::kHalf));
  const levin::Transfer ring[] = {{levin::Transfer::Direction::send, mine, right}, {levin::Transfer::Direction::recv, theirs, left}};
  gpu.ranks->transfer(ring, "ring").synchronize();
  BOOST_TEST(theirs.eq(left).all().item<bool>());
  const Tensor parts = at::arange(size, gpu.options(at::kLong)) + 100 * rank, received = at::zeros_like(parts);
  gpu.ranks->all_to_all(received, parts).synchronize();
  BOOST_TEST(at::equal(received, at::arange(size, gpu.options(at::kLong)) * 100 + rank));
  // Rank r gets r + 1 elements of each rank.
  std::vector<int64_t> sent, expected(static_cast<size_t>(size), rank + 1);
  for (int i = 0; i < size; i++) sent.push_back(i + 1);
  const Tensor input = at::full({size * (size + 1) / 2}, rank + 1.0, gpu.options(at::kFloat));
  const Tensor output = at::zeros({static_cast<int64_t>(size) * (rank + 1)}, gpu.options(at::kFloat));
  gpu.ranks->all_to_all(output, expected, input, sent).wait();
  BOOST_TEST(output.sum().item<float>() == static_cast<float>((rank + 1) * size * (size + 1) / 2));
  check_throws<levin::UsageError>([&] { gpu.ranks->send(mine, size); }, {"[cuda]", "rank"});
  check_throws<levin::UsageError>([&] { gpu.ranks->all_to_all(output, sent, at::zeros({1}, gpu.options(at::kFloat)), sent); },
                                  {"all_to_all"});
}

BOOST_AUTO_TEST_CASE(a_result_is_readable_after_synchronize) {
  SKIP_WITHOUT_GPUS_FOR_ALL();
  const Gpu gpu;
  const Tensor tensor = at::full({1 << 22}, 1, gpu.options(at::kFloat));
  auto work = gpu.ranks->all_reduce(tensor);
  work.synchronize();
  work.synchronize();  // again, it does nothing
  BOOST_TEST(tensor.min().item<float>() == gpu.ranks->size());
}

BOOST_AUTO_TEST_CASE(collectives_on_allocated_memory) {
  SKIP_WITHOUT_GPUS_FOR_ALL();
  const Gpu gpu;
  const Tensor memory = gpu.ranks->allocate(1 << 20, at::kFloat);
  BOOST_TEST(memory.device() == gpu.device);
  BOOST_TEST(memory.sum().item<float>() == 0);
  memory.fill_(1);
  gpu.ranks->all_reduce(memory).wait();
  BOOST_TEST(memory.min().item<float>() == gpu.ranks->size());
}

// Twice the same collectives, on memory of the arena's kind and on LibTorch's: the same bits, whatever algorithm NCCL takes.
BOOST_AUTO_TEST_CASE(allocated_memory_gives_the_values_of_any_memory) {
  SKIP_WITHOUT_GPUS_FOR_ALL();
  const Gpu gpu;
  const int size = gpu.ranks->size(), rank = gpu.ranks->rank();
  const int64_t part = 1 << 18, whole = part * size;
  const auto run = [&](const Tensor& full, const Tensor& own) {
    full.copy_(at::arange(whole, gpu.options(at::kFloat)).remainder_(1000).add_(rank));
    gpu.ranks->reduce_scatter(own, full).wait();
    full.narrow(0, rank * part, part).copy_(own);
    gpu.ranks->all_gather(full, full.narrow(0, rank * part, part)).wait();  // in place
    gpu.ranks->all_reduce(own).wait();
    return at::cat({full, own}).cpu();
  };
  const auto expected = run(at::zeros({whole}, gpu.options(at::kFloat)), at::zeros({part}, gpu.options(at::kFloat)));
  for (int round = 0; round < 3; round++) {  // memory is freed and allocated again
    const Tensor full = gpu.ranks->allocate(whole, at::kFloat), own = gpu.ranks->allocate(part, at::kFloat);
    BOOST_TEST(at::equal(run(full, own), expected));
  }
}

// Gathers of units into slots of an arena, some of which a rank holds for longer.
BOOST_AUTO_TEST_CASE(slots_of_an_arena) {
  SKIP_WITHOUT_GPUS_FOR_ALL();
  const Gpu gpu;
  const int size = gpu.ranks->size(), rank = gpu.ranks->rank();
  const int64_t part = 1 << 16, bytes = levin::CollectiveArena::padded(part * size * 4);
  constexpr int units = 6, slots = 3;
  levin::CollectiveArena arena(*gpu.ranks, slots * bytes + units * levin::CollectiveArena::padded(part * 4));
  std::vector<Tensor> memory, shards;
  for (int i = 0; i < slots; i++) memory.push_back(arena.cut(bytes, at::kByte));
  for (int i = 0; i < units; i++) shards.push_back(arena.cut(part, at::kFloat).fill_(units * rank + i));
  levin::MemoryMeter meter;
  levin::BufferPool pool(meter);
  levin::SlotRing ring(memory);
  std::vector<levin::FlatBuffer> buffers;
  buffers.reserve(units);
  for (int i = 0; i < units; i++)
    buffers.emplace_back(part * size, at::kFloat, gpu.device, levin::MemoryKind::parameters, pool).use_ring(&ring, [] {});
  for (int round = 0; round < 3; round++) {
    for (size_t unit = 0; unit < units; unit++) {
      buffers[unit].fill_for_collective();
      gpu.ranks->all_gather(buffers[unit].tensor(), shards[unit]).wait();
      const size_t kept = rank == size - 1 ? units : 1;
      if (unit >= kept) buffers[unit - kept].drop();
    }
    for (size_t unit = rank == size - 1 ? 0 : units - 1; unit < units; unit++)
      for (int other = 0; other < size; other++) {
        const Tensor values = buffers[unit].tensor().narrow(0, other * part, part);
        BOOST_TEST(at::equal(values, at::full_like(values, units * other + static_cast<int>(unit))));
      }
    for (auto& buffer : buffers) buffer.drop();
  }
}

BOOST_AUTO_TEST_CASE(unsupported_tensors_are_refused) {
  SKIP_WITHOUT_GPUS_FOR_ALL();
  const Gpu gpu;
  check_throws<levin::UsageError>([&] { gpu.ranks->all_reduce(at::zeros({1}, gpu.options(at::kLong)), ReduceOp::mean); },
                                  {"[cuda]", "mean"});
  check_throws<levin::UsageError>([&] { gpu.ranks->all_reduce(at::zeros({1})); }, {"[cuda]", "cpu", "cpu()"});
  check_throws<levin::UsageError>([&] { gpu.ranks->broadcast(at::zeros({1}, gpu.options(at::kFloat)), 99); }, {"99"});
  const Tensor numbers = at::full({1}, 1.0, at::kDouble);
  gpu.ranks->cpu().all_reduce(numbers).wait();
  BOOST_TEST(numbers.item<double>() == gpu.ranks->size());
}

BOOST_AUTO_TEST_CASE(split_by_color) {
  SKIP_WITHOUT_GPUS_FOR_ALL();
  const Gpu gpu;
  const int rank = gpu.ranks->rank(), size = gpu.ranks->size();
  const auto reversed = gpu.ranks->split(0, -rank), alone = gpu.ranks->split(rank, 0);
  BOOST_TEST(reversed->rank() == size - 1 - rank);
  BOOST_TEST(alone->size() == 1);
  const Tensor value = at::full({1}, 1, gpu.options(at::kFloat));
  reversed->all_reduce(value).wait();
  alone->all_reduce(value).wait();
  BOOST_TEST(value.item<float>() == size);
}

BOOST_AUTO_TEST_CASE(an_abort_ends_waits_for_the_device) {
  SKIP_WITHOUT_GPUS_FOR_ALL();
  if (runtime().size() == 1) return;
  const Gpu gpu;
  const Tensor tensor = at::full({1}, 1, gpu.options(at::kFloat));
  gpu.ranks->all_reduce(tensor).wait();
  gpu.accelerator->synchronize();
  if (gpu.ranks->rank() == 0) {
    gpu.ranks->abort("enough");
  } else {
    check_throws<levin::CommunicatorAborted>(
        [&] {
          auto work = gpu.ranks->all_reduce(tensor);  // rank 0 does not come
          try {
            gpu.accelerator->synchronize();
          } catch (const levin::Error&) {  // kernels that were ended may be reported
          }
          work.wait();
          gpu.ranks->cpu().barrier();
        },
        {"rank 0 ended the job", "enough"});
  }
}

BOOST_AUTO_TEST_SUITE_END()
