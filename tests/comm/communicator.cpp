#include "levin/comm/communicator.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <thread>

#include "levin/comm/node_group.h"
#include "levin/comm/topology.h"
#include "levin_test.h"
#include "mpi_calls.h"

using levin::Communicator;
using levin::ReduceOp;
using levin::Tensor;
using levin::test::check_throws;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(comm_communicator)

namespace {

constexpr at::ScalarType floats[] = {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16};
constexpr at::ScalarType integers[] = {at::kChar, at::kByte, at::kShort, at::kInt, at::kLong};
// Nothing, one, less than a cache line, slots, in place and several chunks of the stage; none a multiple of anything.
constexpr int64_t sizes[] = {0, 1, 5, 1023, 16411, 140009};

bool in_parts() { return getenv("COMMUNICATOR_PARTS") != nullptr; }
// Sums between hosts are MPI's, as on many hosts.
bool by_mpi() { return getenv("COMMUNICATOR_BY_MPI") != nullptr; }
int direct_hosts() { return by_mpi() ? 1 : Communicator::direct_hosts; }

// In parts, ranks of even and odd number share no memory.
std::unique_ptr<Communicator> make_communicator() {
  auto whole = Communicator::create_cpu(runtime(), Communicator::CpuOptions{.direct_hosts = direct_hosts()});
  if (!in_parts()) return whole;
  auto parts = Communicator::create_in_parts(runtime(), *whole, whole->rank() % 2, direct_hosts());
  BOOST_REQUIRE(parts);
  return parts;
}

bool is_float(at::ScalarType dtype) { return c10::isFloatingType(dtype); }

/// What a rank gives: differs by rank and place, with signs and fractions, and overflows the small integers. Where MPI chooses the order of
/// sums, they are exact in any.
Tensor input_of(int rank, int64_t numel, at::ScalarType dtype) {
  const auto ramp = at::arange(numel, at::kLong).mul(7919 + 2 * rank).add(rank * 31).remainder(1009).sub(500);
  if (dtype == at::kBool) return ramp.remainder(3).eq(rank % 3);
  return is_float(dtype) ? ramp.to(at::kDouble).mul(by_mpi() ? 1 : 0.37).to(dtype) : ramp.mul(1 + rank).to(dtype);
}

/// The ranks of each host, in the order of their first ranks.
std::vector<std::vector<int>> hosts_of_ranks() {
  static const auto topology = levin::Topology::discover(runtime());
  std::vector<std::vector<int>> hosts;
  std::vector<std::string> names;
  for (const auto& location : topology.locations()) {
    const std::string name = in_parts() ? fmt::format("{}, part {}", location.host, location.rank % 2) : location.host;
    const auto known = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (known == names.size()) names.push_back(name), hosts.emplace_back();
    hosts[known].push_back(location.rank);
  }
  return hosts;
}

Tensor joined(const Tensor& a, const Tensor& b, ReduceOp op) {
  return !a.defined() ? b : op == ReduceOp::min ? at::minimum(a, b) : op == ReduceOp::max ? at::maximum(a, b) : a.add(b);
}

Tensor reference(int ranks, int64_t numel, at::ScalarType dtype, ReduceOp op) {
  const auto wide = dtype == at::kHalf || dtype == at::kBFloat16 ? at::kFloat : dtype;
  Tensor result;
  for (const auto& host : hosts_of_ranks()) {
    Tensor part;
    for (const int rank : host) part = joined(part, input_of(rank, numel, dtype).to(wide), op);
    result = joined(result, part, op);
  }
  if (op == ReduceOp::mean) result = result.div(ranks);
  return result.to(dtype);
}

void check_equal(const Tensor& got, const Tensor& expected, const std::string& label) {
  BOOST_CHECK_MESSAGE(at::equal(got, expected), label << " of " << got.numel() << " " << c10::toString(got.scalar_type()));
}

/// Calls check(dtype, op) for every dtype with the ops that it has.
template <class Check>
void for_each_dtype(Check check) {
  for (auto dtype : floats)
    for (auto op : {ReduceOp::sum, ReduceOp::mean, ReduceOp::min, ReduceOp::max}) check(dtype, op);
  for (auto dtype : integers)
    for (auto op : {ReduceOp::sum, ReduceOp::min, ReduceOp::max}) check(dtype, op);
  for (auto op : {ReduceOp::min, ReduceOp::max}) check(at::kBool, op);
}

/// A tensor with this content, in allocated memory (at an odd place of it) or in plain memory.
Tensor placed(Communicator& comm, const Tensor& content, bool allocated) {
  if (!allocated) return content.clone();
  const auto window = comm.allocate(content.numel() + 3, content.scalar_type()).narrow(0, 3, content.numel());
  window.copy_(content);
  return window;
}

}  // namespace

BOOST_AUTO_TEST_CASE(all_reduce_of_every_type) {
  auto comm = make_communicator();
  for_each_dtype([&](at::ScalarType dtype, ReduceOp op) {
    for (auto numel : sizes) {
      const auto expected = reference(comm->size(), numel, dtype, op);
      for (bool allocated : {false, true}) {
        const auto tensor = placed(*comm, input_of(comm->rank(), numel, dtype), allocated);
        comm->all_reduce(tensor, op).wait();
        check_equal(tensor, expected, "all_reduce");
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(reduce_scatter_of_every_type) {
  auto comm = make_communicator();
  for_each_dtype([&](at::ScalarType dtype, ReduceOp op) {
    for (auto whole : sizes) {
      const auto numel = whole / comm->size();
      const auto mine = input_of(comm->rank(), numel * comm->size(), dtype);
      const auto expected = reference(comm->size(), numel * comm->size(), dtype, op).narrow(0, comm->rank() * numel, numel);
      for (bool allocated : {false, true}) {
        const auto input = placed(*comm, mine, allocated);
        const auto output = at::empty({numel}, dtype);
        comm->reduce_scatter(output, input, op).wait();
        check_equal(output, expected, "reduce_scatter");
        const auto in_place = input.narrow(0, comm->rank() * numel, numel);
        comm->reduce_scatter(in_place, input, op).wait();
        check_equal(in_place, expected, "reduce_scatter in place");
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(all_gather_and_broadcast_of_every_type) {
  auto comm = make_communicator();
  for_each_dtype([&](at::ScalarType dtype, ReduceOp op) {
    if (op != ReduceOp::max) return;
    for (auto numel : sizes) {
      std::vector<Tensor> parts;
      for (int i = 0; i < comm->size(); i++) parts.push_back(input_of(i, numel, dtype));
      for (int where = 0; where < 4; where++) {
        const auto input = placed(*comm, input_of(comm->rank(), numel, dtype), where & 1);
        const auto output = placed(*comm, at::zeros({numel * comm->size()}, dtype), where & 2);
        comm->all_gather(output, input).wait();
        check_equal(output, at::cat(parts), "all_gather");
        const auto mine = output.narrow(0, comm->rank() * numel, numel);
        output.zero_();
        mine.copy_(input);
        comm->all_gather(output, mine).wait();
        check_equal(output, at::cat(parts), "all_gather in place");
        for (int root = 0; root < comm->size(); root++) {
          input.copy_(parts[static_cast<size_t>(comm->rank())]);
          comm->broadcast(input, root).wait();
          check_equal(input, parts[static_cast<size_t>(root)], "broadcast");
        }
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(a_copy_a_host_is_completed) {
  auto comm = make_communicator();
  for (const int64_t numel : {3, 70001}) {
    const auto window = comm->node()->allocate(comm->node()->rank() == 0 ? static_cast<size_t>(8 * numel * comm->size()) : 0);
    const auto whole = at::from_blob(window->part(0), {numel * comm->size()}, at::kDouble);
    whole.narrow(0, comm->rank() * numel, numel).fill_(comm->rank() + 1);
    comm->gather_shared(whole).wait();
    for (int rank = 0; rank < comm->size(); rank++) BOOST_TEST(whole.narrow(0, rank * numel, numel).eq(rank + 1).all().item<bool>());
    comm->barrier();
  }
  check_throws<levin::UsageError>(
      [&] { comm->size() > 1 ? comm->gather_shared(at::zeros({comm->size() + 1})) : throw levin::UsageError("", "gather_shared"); },
      {"gather_shared"});
}

BOOST_AUTO_TEST_CASE(one_rank_in_plain_and_one_in_allocated_memory) {
  auto comm = make_communicator();
  const auto memory = placed(*comm, input_of(comm->rank(), 100003, at::kFloat), true);
  const auto tensor = comm->rank() == 0 ? memory : memory.clone();
  comm->all_reduce(tensor).wait();
  check_equal(tensor, reference(comm->size(), 100003, at::kFloat, ReduceOp::sum), "all_reduce of mixed memory");
}

BOOST_AUTO_TEST_CASE(allocated_memory_is_dropped_and_made_again) {
  auto comm = make_communicator();
  for (int round = 0; round < 20; round++) {
    const auto tensor = comm->allocate(50021, at::kFloat);
    BOOST_TEST(tensor.eq(0).all().item<bool>());
    tensor.fill_(comm->rank() + round);
    comm->all_reduce(tensor, ReduceOp::max).wait();
    BOOST_TEST(tensor.eq(comm->size() - 1 + round).all().item<bool>());
  }
}

BOOST_AUTO_TEST_CASE(small_and_large_in_turn) {
  auto comm = make_communicator();
  const auto large = comm->allocate(70001, at::kDouble), plain = at::zeros({200003}, at::kFloat), small = at::zeros({17}, at::kDouble);
  for (int round = 0; round < 100; round++) {
    for (const auto& tensor : {small, large, small, small, plain, small, plain, large}) {
      tensor.fill_(comm->rank() + round);
      comm->all_reduce(tensor, ReduceOp::mean).wait();
      BOOST_REQUIRE(tensor.eq(at::full({}, (comm->size() - 1) / 2.0 + round, tensor.scalar_type())).all().item<bool>());
    }
  }
}

BOOST_AUTO_TEST_CASE(a_nan_of_any_rank_reaches_all) {
  auto comm = make_communicator();
  for (auto op : {ReduceOp::sum, ReduceOp::mean, ReduceOp::min, ReduceOp::max})
    for (auto dtype : floats)
      for (int bad = 0; bad < comm->size(); bad++) {
        const auto tensor = at::full({3}, comm->rank() == bad ? std::numeric_limits<double>::quiet_NaN() : 1.0, dtype);
        comm->all_reduce(tensor, op).wait();
        BOOST_TEST(tensor.isnan().all().item<bool>());
      }
}

BOOST_AUTO_TEST_CASE(ops_that_a_type_does_not_have) {
  auto comm = make_communicator();
  for (auto dtype : integers)
    check_throws<levin::UsageError>([&] { comm->all_reduce(at::zeros({3}, dtype), ReduceOp::mean); },
                                    {"[comm]", "mean", c10::toString(dtype)});
  check_throws<levin::UsageError>([&] { comm->all_reduce(at::zeros({3}, at::kBool)); }, {"sum of Bool", "max for or"});
  check_throws<levin::UsageError>([&] { comm->all_reduce(at::zeros({3}, at::kComplexFloat)); }, {"ComplexFloat"});
  check_throws<levin::UsageError>([&] { comm->all_reduce(at::zeros({3, 4}).t()); }, {"not contiguous"});
  check_throws<levin::UsageError>([&] { comm->all_gather(at::zeros({3 * comm->size() + 1}), at::zeros({3})); }, {"the whole tensor has"});
  check_throws<levin::UsageError>([&] { comm->broadcast(at::zeros({3}), comm->size()); }, {"broadcast from rank"});
}

BOOST_AUTO_TEST_CASE(sequence_counts_every_collective) {
  auto comm = make_communicator();
  const auto before = comm->sequence();
  comm->barrier();
  comm->all_reduce(at::zeros({3}));
  comm->all_gather(at::zeros({3 * comm->size()}), at::zeros({3}));
  comm->all_to_all(at::zeros({3 * comm->size()}), at::zeros({3 * comm->size()})).wait();
  BOOST_TEST(comm->sequence() == before + 4);
}

BOOST_AUTO_TEST_CASE(no_mpi_inside_a_node) {
  auto comm = make_communicator();
  if (comm->node()->size() < comm->size()) return;
  const auto before = levin::test::mpi_calls();
  const auto window = comm->allocate(100003, at::kFloat), whole = comm->allocate(100003 * comm->size(), at::kFloat);
  for (const auto& tensor : {window, at::zeros({100003}), at::zeros({11})}) {
    comm->all_reduce(tensor).wait();
    comm->broadcast(tensor, 0).wait();
    comm->all_gather(at::zeros({tensor.numel() * comm->size()}), tensor).wait();
    comm->reduce_scatter(tensor, at::zeros({tensor.numel() * comm->size()})).wait();
  }
  comm->reduce_scatter(window, whole).wait();
  comm->barrier();
  comm->node()->barrier();
  comm->split(0, 0)->barrier();
  comm->node()->allocate(1000);
  BOOST_TEST(levin::test::mpi_calls() == before);
}

BOOST_AUTO_TEST_CASE(ranks_that_disagree_get_an_error_that_names_both) {
  auto comm = make_communicator();
  if (comm->size() == 1) return;
  const bool first = comm->rank() == 0;
  const auto hosts = hosts_of_ranks();
  const int partner = hosts[0].size() > 1 ? hosts[0][1] : hosts[1][0];  // the next rank that rank 0 compares with
  for (bool allocated : {false, true})
    for (int64_t numel : {int64_t{10}, int64_t{100000}}) {
      const auto tensor = placed(*comm, at::full({numel}, 5.0f), allocated);
      const std::vector<std::string> both{"rank 0 is in", fmt::format("rank {} in", partner)};
      const auto expect = [&](auto call, std::vector<std::string> words) {
        words.insert(words.end(), both.begin(), both.end());
        check_throws<levin::CommunicatorError>(call, words);
        BOOST_TEST(tensor.eq(5).all().item<bool>());  // before data moves
      };
      expect([&] { comm->all_reduce(tensor, first ? ReduceOp::sum : ReduceOp::max).wait(); }, {"sum", "max"});
      expect([&] { comm->all_reduce(first ? tensor : tensor.narrow(0, 0, 7)).wait(); }, {std::to_string(numel), "of 7 Float"});
      expect([&] { comm->all_reduce(first ? tensor : at::zeros({numel}, at::kDouble)).wait(); }, {"Double", "Float"});
      expect([&] { first ? comm->barrier() : comm->broadcast(tensor, 0).wait(); }, {"barrier", "broadcast"});
      expect([&] { comm->broadcast(tensor, first ? 0 : 1).wait(); }, {"root 0", "root 1"});
      const auto every_part = at::zeros({numel * comm->size()});
      const auto mean_and = [&](const std::string& kind, const std::function<void()>& call) {
        expect([&] { first ? comm->all_reduce(tensor, ReduceOp::mean).wait() : call(); }, {"all_reduce", "mean", kind});
      };
      mean_and("all_to_all", [&] { comm->all_to_all(at::zeros_like(every_part), every_part).wait(); });
      mean_and("gather_shared", [&] { comm->gather_shared(every_part).wait(); });
      mean_and("all_gather", [&] { comm->all_gather(every_part, tensor).wait(); });
      mean_and("reduce_scatter", [&] { comm->reduce_scatter(tensor, every_part, ReduceOp::mean).wait(); });
      mean_and("barrier", [&] { comm->barrier(); });
      expect([&] { comm->all_reduce(tensor, ReduceOp::sum, first ? "unit \"a\"" : "unit \"b\"").wait(); },
             {"for unit \"a\"", "for unit \"b\""});
      expect([&] { comm->broadcast(tensor, 0, first ? "" : "buffer \"b\"").wait(); }, {"from root 0", "for buffer \"b\""});
      const std::string long_label(300, 'x');
      expect([&] { comm->all_reduce(tensor, ReduceOp::sum, long_label + (first ? "a" : "b")).wait(); }, {"for xxxxx"});
      comm->all_reduce(tensor, ReduceOp::mean, long_label).wait();  // and the communicator is as good as before
      BOOST_TEST(tensor.eq(5).all().item<bool>());
    }
}

BOOST_AUTO_TEST_CASE(halves_work_at_once) {
  auto comm = make_communicator();
  auto half = comm->split(comm->rank() % 2, 0);
  const auto tensor = half->allocate(40009, at::kFloat);
  double expected = 0;
  for (int i = comm->rank() % 2; i < comm->size(); i += 2) expected += i + 1;
  for (int round = 0; round < 50 * (1 + comm->rank() % 2); round++) {
    tensor.fill_(comm->rank() + 1);
    half->all_reduce(tensor).wait();
    BOOST_REQUIRE(tensor.eq(expected).all().item<bool>());
  }
  comm->barrier();
}

BOOST_AUTO_TEST_CASE(parts_of_a_host) {
  const auto whole = Communicator::create_cpu(runtime());
  BOOST_TEST(!Communicator::create_in_parts(runtime(), *whole, 7));
  const auto parts = Communicator::create_in_parts(runtime(), *whole, whole->rank() % 2);
  if (!parts) return;  // every rank is alone on its host
  BOOST_TEST((parts->node()->size() < whole->node()->size() || whole->node()->size() == 1));
  BOOST_TEST(parts->size() == whole->size());
  BOOST_TEST(parts->rank() == whole->rank());
  if (whole->rank() == 0) {
    whole->barrier();
    whole->abort("the whole ended");
    return;
  }
  check_throws<levin::CommunicatorAborted>(
      [&] {
        whole->barrier();  // the abort may overtake its end
        for (;;) parts->barrier();
      },
      {"rank 0 ended the job", "the whole ended"});
}

BOOST_AUTO_TEST_CASE(abort_ends_a_collective) {
  auto comm = make_communicator();
  if (comm->rank() == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    comm->abort("loss is not finite");
  }
  const auto start = std::chrono::steady_clock::now();
  check_throws<levin::CommunicatorAborted>(
      [&] {
        for (;;) comm->all_reduce(at::zeros({100000})).wait();
      },
      {"rank 0 ended the job", "loss is not finite"});
  BOOST_TEST(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 1.0);
}

BOOST_AUTO_TEST_SUITE_END()
