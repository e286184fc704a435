// Point-to-point messages and all_to_all, on one host and, by tests/fixtures/hosts, on several.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <chrono>
#include <numeric>
#include <thread>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin_test.h"
#include "mpi_calls.h"

using levin::Communicator;
using levin::Tensor;
using levin::Transfer;
using levin::test::check_throws;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(comm_transfers)

namespace {

constexpr at::ScalarType dtypes[] = {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kChar,         at::kByte,
                                     at::kShort, at::kInt,    at::kLong, at::kBool,     at::kComplexFloat, at::kComplexDouble};
// Nothing, one, less than a cache line, several chunks of an inbox and of a stage.
constexpr int64_t sizes[] = {0, 1, 5, 1023, 16411, 140009};
constexpr auto send = Transfer::Direction::send, recv = Transfer::Direction::recv;

std::unique_ptr<Communicator> make_communicator() { return Communicator::create_cpu(runtime()); }

/// What `from` sends to `to`.
Tensor message(int from, int to, int64_t numel, at::ScalarType dtype) {
  return at::arange(numel, at::kLong).mul(31 + from).add(7 * to + from).remainder(101).to(dtype);
}

Tensor placed(Communicator& comm, const Tensor& content, bool allocated) {
  if (!allocated) return content.clone();
  const auto tensor = comm.allocate(content.numel() + 3, content.scalar_type()).narrow(0, 3, content.numel());
  tensor.copy_(content);
  return tensor;
}

void check_equal(const Tensor& got, const Tensor& expected, const std::string& call) {
  BOOST_CHECK_MESSAGE(at::equal(got, expected), call << " of " << got.numel() << " " << c10::toString(got.scalar_type()));
}

}  // namespace

BOOST_AUTO_TEST_CASE(from_rank_to_rank_in_turn) {
  auto comm = make_communicator();
  const int rank = comm->rank(), size = comm->size();
  for (const auto dtype : dtypes)
    for (const auto numel : sizes)
      for (const bool allocated : {false, true}) {
        const auto tensor = placed(*comm, message(0, 1, numel, dtype), allocated);
        if (size == 1) continue;
        if (rank > 0) comm->recv(tensor.zero_(), rank - 1, "a relay").wait();
        if (rank + 1 < size) comm->send(tensor, rank + 1, "a relay").wait();
        check_equal(tensor, message(0, 1, numel, dtype), "recv");
        comm->barrier();
      }
}

BOOST_AUTO_TEST_CASE(all_pairs_cross_in_one_call) {
  auto comm = make_communicator();
  for (const auto dtype : dtypes)
    for (const auto numel : sizes)
      for (const bool allocated : {false, true}) {
        std::vector<Tensor> received;
        std::vector<Transfer> transfers;
        for (int peer = 0; peer < comm->size(); peer++) {  // itself, too
          transfers.push_back({send, placed(*comm, message(comm->rank(), peer, numel, dtype), allocated), peer});
          received.push_back(at::empty({numel}, dtype));
          transfers.push_back({recv, received.back(), peer});
        }
        comm->transfer(transfers).wait();
        for (int peer = 0; peer < comm->size(); peer++)
          check_equal(received[static_cast<size_t>(peer)], message(peer, comm->rank(), numel, dtype), "transfer");
      }
}

BOOST_AUTO_TEST_CASE(many_messages_of_a_pair_keep_their_order) {
  auto comm = make_communicator();
  const int right = (comm->rank() + 1) % comm->size(), left = (comm->rank() + comm->size() - 1) % comm->size();
  std::vector<Transfer> transfers;
  for (int i = 0; i < 20; i++) {
    transfers.push_back({send, at::full({1 + i * 2000}, 100 * comm->rank() + i, at::kInt), right});
    transfers.push_back({recv, at::zeros({1 + i * 2000}, at::kInt), left});
  }
  comm->transfer(transfers).wait();
  for (int i = 0; i < 20; i++) BOOST_TEST(transfers[static_cast<size_t>(2 * i + 1)].tensor.eq(100 * left + i).all().item<bool>());
}

// A receives from B and C; C sends only after it has heard from B, which first sends to A.
BOOST_AUTO_TEST_CASE(a_sender_that_is_late_does_not_hold_up_another) {
  auto comm = make_communicator();
  if (comm->size() < 3) return;
  const auto large = at::full({200000}, comm->rank() + 1.0f), token = at::zeros({1});
  if (comm->rank() == 0) {
    const auto from_second = at::zeros({200000}), from_first = at::zeros({200000});
    const Transfer both[] = {{recv, from_second, 2}, {recv, from_first, 1}};
    comm->transfer(both).wait();
    BOOST_TEST(from_first.eq(2).all().item<bool>());
    BOOST_TEST(from_second.eq(3).all().item<bool>());
  } else if (comm->rank() == 1) {
    comm->send(large, 0).wait();
    comm->send(token, 2).wait();
  } else if (comm->rank() == 2) {
    comm->recv(token, 1).wait();
    comm->send(large, 0).wait();
  }
}

BOOST_AUTO_TEST_CASE(sides_that_disagree_get_an_error_that_names_both) {
  auto comm = make_communicator();
  if (comm->size() == 1) return;
  const int last = comm->size() - 1;
  const bool sends = comm->rank() == 0, receives = comm->rank() == last;
  const auto tensor = at::full({100000}, 5.0f);
  const auto expect = [&](const Tensor& sent, std::string_view sent_label, const Tensor& received, std::string_view received_label,
                          std::vector<std::string> words) {
    words.push_back("rank 0 is in send number");
    words.push_back(fmt::format("rank {} in recv number", last));
    if (sends) check_throws<levin::CommunicatorError>([&] { comm->send(sent, last, sent_label).wait(); }, words);
    if (receives) check_throws<levin::CommunicatorError>([&] { comm->recv(received, 0, received_label).wait(); }, words);
    BOOST_TEST(tensor.eq(5).all().item<bool>());  // before data move
  };
  expect(tensor, "", tensor.narrow(0, 0, 99999), "", {"100000 Float", "99999 Float"});
  expect(at::zeros({0}), "", tensor, "", {"0 Float", "100000 Float"});
  expect(at::zeros({100000}, at::kInt), "", tensor, "", {"100000 Int", "100000 Float"});
  expect(at::zeros({100000}), "activations", tensor, "gradients", {"for activations", "for gradients"});
  if (sends) comm->send(at::full({100000}, 7.0f), last).wait();  // and the communicator is as good as before
  if (receives) comm->recv(tensor, 0).wait();
  if (receives) BOOST_TEST(tensor.eq(7).all().item<bool>());
  comm->barrier();
}

BOOST_AUTO_TEST_CASE(sends_that_cross_without_a_recv_are_an_error) {
  auto comm = make_communicator();
  if (comm->node()->size() < comm->size()) return;  // MPI cannot tell
  const int peer = comm->size() - 1 - comm->rank();
  if (comm->size() % 2 == 1 && comm->size() > 1 && peer == comm->rank()) return;
  try {
    comm->send(at::zeros({100000}), peer).wait();
    BOOST_ERROR("nothing was thrown");
  } catch (const levin::Error& error) {  // one rank finds it; another may hear of it first
    const std::string text = error.what();
    BOOST_CHECK_MESSAGE(text.find("does not receive") != std::string::npos || text.find("neither receives") != std::string::npos, text);
  }
}

BOOST_AUTO_TEST_CASE(arguments_are_checked) {
  auto comm = make_communicator();
  check_throws<levin::UsageError>([&] { comm->send(at::zeros({3}), comm->size()); }, {"send to rank"});
  check_throws<levin::UsageError>([&] { comm->recv(at::zeros({3}), -1); }, {"recv from rank -1"});
  check_throws<levin::UsageError>([&] { comm->recv(at::zeros({3, 4}).t(), 0); }, {"not contiguous"});
  const auto ranks = static_cast<size_t>(comm->size());
  const std::vector<int64_t> two_each(ranks, 2), short_by_one(ranks + 1, 2);
  check_throws<levin::UsageError>([&] { comm->all_to_all(at::zeros({2 * comm->size()}), two_each, at::zeros({1}), two_each); },
                                  {"all_to_all of 1 elements"});
  check_throws<levin::UsageError>(
      [&] { comm->all_to_all(at::zeros({2 * comm->size()}), short_by_one, at::zeros({2 * comm->size()}), two_each); }, {"parts"});
  check_throws<levin::UsageError>([&] { comm->all_to_all(at::zeros({comm->size()}), at::zeros({comm->size()}, at::kInt)); },
                                  {"Int", "Float"});
}

BOOST_AUTO_TEST_CASE(all_to_all_of_every_type) {
  auto comm = make_communicator();
  for (const auto dtype : dtypes)
    for (const auto numel : sizes)
      for (const bool allocated : {false, true}) {
        std::vector<Tensor> sent, expected;
        for (int i = 0; i < comm->size(); i++) {
          sent.push_back(message(comm->rank(), i, numel, dtype));
          expected.push_back(message(i, comm->rank(), numel, dtype));
        }
        const auto output = at::empty({numel * comm->size()}, dtype);
        comm->all_to_all(output, placed(*comm, at::cat(sent), allocated), "tokens").wait();
        check_equal(output, at::cat(expected), "all_to_all");
      }
}

BOOST_AUTO_TEST_CASE(all_to_all_with_counts) {
  auto comm = make_communicator();
  const auto count = [](int from, int to, int scale) -> int64_t { return (from + 2 * to) % 3 == 0 ? 0 : scale * (1 + from + 3 * to); };
  for (const auto dtype : {at::kFloat, at::kHalf, at::kLong, at::kBool})
    for (const int scale : {0, 1, 7, 5003, 40009}) {
      std::vector<Tensor> sent, expected;
      std::vector<int64_t> sent_counts, expected_counts;
      for (int i = 0; i < comm->size(); i++) {
        sent_counts.push_back(count(comm->rank(), i, scale));
        expected_counts.push_back(count(i, comm->rank(), scale));
        sent.push_back(message(comm->rank(), i, sent_counts.back(), dtype));
        expected.push_back(message(i, comm->rank(), expected_counts.back(), dtype));
      }
      const auto output = at::zeros({std::accumulate(expected_counts.begin(), expected_counts.end(), int64_t{0})}, dtype);
      comm->all_to_all(output, expected_counts, at::cat(sent), sent_counts).wait();
      check_equal(output, at::cat(expected), "all_to_all with counts");
    }
}

BOOST_AUTO_TEST_CASE(counts_that_do_not_match_are_an_error_on_all_ranks) {
  auto comm = make_communicator();
  if (comm->size() == 1) return;
  const auto ranks = static_cast<size_t>(comm->size());
  const std::vector<int64_t> two_each(ranks, 2);
  auto wrong = two_each;
  if (comm->rank() == 1) wrong[0] = 3;
  const auto input = at::zeros({std::accumulate(wrong.begin(), wrong.end(), int64_t{0})}), output = at::full({2 * comm->size()}, 5.0f);
  check_throws<levin::CommunicatorError>([&] { comm->all_to_all(output, two_each, input, wrong, "tokens").wait(); },
                                         {"rank 1 sends 3 elements to rank 0, which expects 2", "all_to_all", "for tokens"});
  BOOST_TEST(output.eq(5).all().item<bool>());
  check_throws<levin::CommunicatorError>(
      [&] {
        comm->rank() == 0 ? comm->all_to_all(output, at::zeros({2 * comm->size()})).wait()
                          : comm->all_to_all(output, two_each, at::zeros({2 * comm->size()}), two_each).wait();
      },
      {"rank 0 is in all_to_all", "with counts"});
  comm->all_to_all(output, at::zeros({2 * comm->size()})).wait();
  BOOST_TEST(output.eq(0).all().item<bool>());
}

BOOST_AUTO_TEST_CASE(an_abort_ends_messages) {
  for (const bool waits_to_send : {false, true}) {
    auto comm = make_communicator();
    comm->barrier();
    const int last = comm->size() - 1;
    const auto start = std::chrono::steady_clock::now();
    if (comm->rank() == last) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      comm->abort("loss is not finite");
    }
    if (comm->rank() == last && comm->size() > 1) continue;
    check_throws<levin::CommunicatorAborted>(
        [&] { waits_to_send ? comm->send(at::zeros({100000}), last).wait() : comm->recv(at::zeros({100000}), last).wait(); },
        {fmt::format("rank {} ended the job", last), "loss is not finite"});
    BOOST_TEST(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 3.0);
  }
}

BOOST_AUTO_TEST_CASE(no_mpi_for_messages_inside_a_node) {
  auto comm = make_communicator();
  if (comm->node()->size() < comm->size()) return;
  const int right = (comm->rank() + 1) % comm->size(), left = (comm->rank() + comm->size() - 1) % comm->size();
  const auto window = comm->allocate(50000, at::kFloat);
  const auto before = levin::test::mpi_calls();
  for (const auto& tensor : {window, at::zeros({50000}), at::zeros({0})}) {
    const Transfer ring[] = {{send, tensor, right}, {recv, at::zeros_like(tensor), left}};
    comm->transfer(ring).wait();
  }
  comm->all_to_all(at::zeros({50 * comm->size()}), at::zeros({50 * comm->size()})).wait();
  const std::vector<int64_t> fifty(static_cast<size_t>(comm->size()), 50);
  comm->all_to_all(at::zeros({50 * comm->size()}), fifty, at::zeros({50 * comm->size()}), fifty).wait();
  BOOST_TEST(levin::test::mpi_calls() == before);
}

BOOST_AUTO_TEST_CASE(messages_beside_collectives) {
  auto comm = make_communicator();
  const int right = (comm->rank() + 1) % comm->size(), left = (comm->rank() + comm->size() - 1) % comm->size();
  for (int round = 0; round < 50; round++) {
    const auto sum = at::full({static_cast<int64_t>(1 + 4001 * (round % 7))}, 1.0), mine = at::full({2001}, comm->rank() + round, at::kInt),
               theirs = at::zeros({2001}, at::kInt);
    auto first = comm->all_reduce(sum);
    const Transfer ring[] = {{send, mine, right}, {recv, theirs, left}};
    auto second = comm->transfer(ring, "ring");
    second.synchronize();
    first.synchronize();
    BOOST_TEST(theirs.eq(left + round).all().item<bool>());
    BOOST_TEST(sum.eq(comm->size()).all().item<bool>());
  }
}

BOOST_AUTO_TEST_SUITE_END()
