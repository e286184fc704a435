// Runs on several hosts (tests/fixtures/hosts); what holds on one host, too, is in communicator.cpp.
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <chrono>
#include <set>
#include <thread>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/comm/topology.h"
#include "levin_test.h"

using levin::Communicator;
using levin::CommunicatorAborted;
using levin::Topology;
using levin::test::runtime;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(comm_hierarchical_communicator)

namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::unique_ptr<Communicator> make_communicator() {
  Communicator::CpuOptions options;
  if (getenv("COMMUNICATOR_BY_MPI")) options.direct_hosts = 1;  // as on many hosts
  return Communicator::create_cpu(runtime(), options);
}

// All ranks have come; the abort of a rank that leaves first may reach another while it leaves.
void meet_before_an_abort(Communicator& comm) {
  try {
    comm.barrier();
  } catch (const CommunicatorAborted&) {  // wait_for_the_end gets it again
  }
}

/// What the others get when they wait for ranks that never come.
CommunicatorAborted wait_for_the_end(Communicator& comm) {
  try {
    for (;;) comm.all_reduce(at::zeros({10})).wait();
  } catch (const CommunicatorAborted& aborted) {
    return aborted;
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(topology_sees_the_hosts) {
  const auto topology = Topology::discover(runtime());
  std::set<std::string> names;
  int local = 0;
  for (const auto& location : topology.locations()) {
    names.insert(location.host);
    local += location.host == topology.self().host;
  }
  BOOST_TEST(topology.hosts() > 1);
  BOOST_TEST(static_cast<int>(names.size()) == topology.hosts());
  BOOST_TEST(*names.begin() == "hosta");
  BOOST_TEST(topology.local_size() == local);
  BOOST_TEST(topology.self().local_rank < local);
  const auto comm = make_communicator();
  BOOST_TEST(comm->size() == runtime().size());
  BOOST_TEST(comm->node()->size() == local);
  BOOST_TEST(comm->node()->rank() == topology.self().local_rank);
}

// The hosts have /dev/shm in common here: their windows must be different memory all the same.
BOOST_AUTO_TEST_CASE(windows_of_two_hosts_are_not_confused) {
  const auto comm = make_communicator();
  const auto topology = Topology::discover(runtime());
  for (int round = 0; round < 10; round++) {
    const auto window = comm->node()->allocate(sizeof(int));
    *reinterpret_cast<int*>(window->part(comm->node()->rank())) = 100 * round + runtime().rank();
    comm->barrier();
    for (const auto& location : topology.locations())
      if (location.host == topology.self().host)
        BOOST_TEST(*reinterpret_cast<int*>(window->part(location.local_rank)) == 100 * round + location.rank);
    comm->barrier();
  }
}

BOOST_AUTO_TEST_CASE(collectives_go_on_while_the_caller_computes) {
  const auto comm = make_communicator();
  const auto tensor = comm->allocate(4 << 20, at::kFloat), small = at::full({2}, 1.0);
  for (int round = 0; round < 3; round++) {
    tensor.fill_(1);
    comm->barrier();
    auto large_work = comm->all_reduce(tensor), small_work = comm->all_reduce(small);  // in order
    const auto start = Clock::now();
    while (tensor[-1].item<float>() != static_cast<float>(comm->size()) && seconds_since(start) < 10) std::this_thread::sleep_for(1ms);
    BOOST_TEST(seconds_since(start) < 10);  // nobody has called wait
    large_work.wait();
    small_work.wait();
    BOOST_TEST(tensor.eq(comm->size()).all().item<bool>());
  }
  BOOST_TEST(small[0].item<double>() == std::pow(comm->size(), 3));
}

BOOST_AUTO_TEST_CASE(many_under_way_at_once) {
  const auto comm = make_communicator();
  std::vector<at::Tensor> tensors;
  std::vector<levin::Work> works;
  for (int i = 0; i < 40; i++) {
    tensors.push_back(at::full({1 + 997 * i}, static_cast<float>(comm->rank() + i)));
    works.push_back(comm->all_reduce(tensors.back(), levin::ReduceOp::max));
  }
  for (auto& work : works) work.wait();
  for (int i = 0; i < 40; i++) BOOST_TEST(tensors[static_cast<size_t>(i)].eq(comm->size() - 1 + i).all().item<bool>());
}

BOOST_AUTO_TEST_CASE(a_host_has_its_own_communicator) {
  const auto comm = make_communicator();
  const auto topology = Topology::discover(runtime());
  const int host = topology.self().host.back();
  const auto local = comm->split(host, 0), turned = comm->split(0, -comm->rank());
  BOOST_TEST(local->size() == topology.local_size());
  BOOST_TEST(turned->rank() == comm->size() - 1 - comm->rank());
  const auto tensor = at::full({5000}, static_cast<float>(comm->rank()));
  turned->broadcast(tensor, 0).wait();
  BOOST_TEST(tensor.eq(comm->size() - 1).all().item<bool>());
  local->all_reduce(tensor).wait();
  BOOST_TEST(tensor.eq((comm->size() - 1) * local->size()).all().item<bool>());
  comm->barrier();
}

BOOST_AUTO_TEST_CASE(any_rank_ends_all_in_seconds) {
  for (int ender = 0; ender < runtime().size(); ender++) {
    const auto comm = make_communicator();
    meet_before_an_abort(*comm);
    const auto start = Clock::now();
    if (comm->rank() == ender) comm->abort("no space left");
    const auto aborted = wait_for_the_end(*comm);
    BOOST_TEST(aborted.by_rank() == ender);
    BOOST_TEST(std::string(aborted.what()).find("no space left") != std::string::npos);
    BOOST_TEST(seconds_since(start) < 3);
  }
}

BOOST_AUTO_TEST_CASE(one_of_several_that_fail_at_once_is_named) {
  const auto comm = make_communicator();
  meet_before_an_abort(*comm);
  comm->abort("failed everywhere");
  std::this_thread::sleep_for(500ms);
  const auto aborted = wait_for_the_end(*comm);
  std::vector<int> named(static_cast<size_t>(comm->size()));
  const int mine = aborted.by_rank();
  MPI_Allgather(&mine, 1, MPI_INT, named.data(), 1, MPI_INT, runtime().communicator());
  for (const int rank : named) BOOST_TEST(rank == named[0]);
}

// A leader that aborts never takes part in what the others have begun; MPI gives its communicator's number to the next one.
BOOST_AUTO_TEST_CASE(messages_of_an_aborted_communicator_reach_no_other) {
  for (int round = 0; round < 20; round++) {
    auto comm = make_communicator();
    meet_before_an_abort(*comm);
    if (comm->rank() == 0) comm->abort("not again");
    wait_for_the_end(*comm);
    comm.reset();
    for (int i = 0; i < 5; i++) {
      MPI_Comm self;
      MPI_Comm_dup(MPI_COMM_SELF, &self);
      MPI_Comm_free(&self);
    }
  }
}

BOOST_AUTO_TEST_CASE(an_abort_ends_what_is_split_off) {
  const auto comm = make_communicator();
  const auto other = comm->split(0, 0);
  if (comm->rank() == comm->size() - 1) comm->abort("enough");
  BOOST_TEST(wait_for_the_end(*other).by_rank() == comm->size() - 1);
}

BOOST_AUTO_TEST_CASE(a_rank_that_unwinds_does_not_leave_the_others_waiting) {
  const auto start = Clock::now();
  try {
    const auto comm = make_communicator();
    meet_before_an_abort(*comm);
    if (comm->rank() == 0) {
      const auto never = comm->all_reduce(at::zeros({10}));  // the others do not come
      throw std::runtime_error("left");
    }
    std::this_thread::sleep_for(300ms);
    BOOST_TEST(std::string(wait_for_the_end(*comm).what()).find("while collectives were in progress") != std::string::npos);
  } catch (const std::runtime_error&) {
  }
  BOOST_TEST(seconds_since(start) < 5);
}

BOOST_AUTO_TEST_SUITE_END()
