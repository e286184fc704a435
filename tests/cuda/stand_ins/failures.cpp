// What the NCCL path does when a rank fails, does not come, or does something else.
#include <chrono>
#include <stdexcept>
#include <thread>

#include "levin/comm/communicator_error.h"
#include "levin/comm/node_group.h"
#include "nccl_job.h"
#include "nccl_link.h"

using levin::CommunicatorAborted, levin::Tensor;
using levin::test::all_are, levin::test::check_throws, levin::test::device_tensor, levin::test::fill, levin::test::meet,
    levin::test::NcclJob, levin::test::runtime;
using stand_in::nccl_findings, stand_in::nccl_settings;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(cuda_stand_ins_failures)

namespace {

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Ranks connect in their first collective. Returns its tensor.
Tensor connect_ranks(levin::Communicator& ranks, int64_t numel) {
  const Tensor tensor = device_tensor(numel);
  fill(tensor, 1);
  ranks.all_reduce(tensor).synchronize();
  return tensor;
}

// Collectives until the job ends.
void reduce_until_the_end(levin::Communicator& ranks) {
  const Tensor tensor = device_tensor(100);
  for (;;) {
    fill(tensor, 1);
    ranks.all_reduce(tensor, levin::ReduceOp::sum, "the gradient").synchronize();
  }
}

// Waits without a collective until the job ends.
void wait_for_the_end(NcclJob& job) {
  for (auto end = Clock::now() + 20s; Clock::now() < end;) {
    if (job.ranks().cpu().node()->aborted()) {
      const auto notice = job.ranks().cpu().node()->abort_notice();
      throw CommunicatorAborted(notice.by_rank, notice.reason);
    }
    std::this_thread::sleep_for(5ms);
  }
}

std::string name_of(int rank) { return "rank " + std::to_string(rank) + " on "; }

}  // namespace

BOOST_AUTO_TEST_CASE(an_error_of_a_call_ends_the_job) {
  NcclJob job;
  auto& ranks = job.start();
  const Tensor tensor = device_tensor(100);
  if (job.rank() == 0) nccl_settings().fail_at = 4;
  const auto run = [&] { reduce_until_the_end(ranks); };
  if (job.rank() == 0)
    check_throws<levin::Error>(run, {"ncclAllReduce failed: internal error", "NCCL_DEBUG"});
  else
    check_throws<CommunicatorAborted>(run, {"rank 0 ended the job", "ncclAllReduce failed"});
  check_throws<CommunicatorAborted>([&] { ranks.all_reduce(tensor); }, {"rank 0 ended the job"});
}

BOOST_AUTO_TEST_CASE(an_asynchronous_error_ends_the_job) {
  NcclJob job;
  auto& ranks = job.start();
  if (job.last()) nccl_settings().async_error_at = 3;
  const auto begin = Clock::now();
  check_throws<CommunicatorAborted>([&] { reduce_until_the_end(ranks); },
                                    {"rank " + std::to_string(job.size() - 1) + " ended the job", "NCCL failed", "network error"});
  BOOST_TEST(seconds_since(begin) < 10);
}

// The time-out names what hangs and who is missing.
BOOST_AUTO_TEST_CASE(a_rank_that_does_not_come_is_named) {
  if (runtime().size() == 1) return;
  NcclJob job(1s);
  auto& ranks = job.start();
  const Tensor tensor = connect_ranks(ranks, 100);
  meet();
  const auto begin = Clock::now();
  try {
    if (job.last())
      wait_for_the_end(job);
    else
      ranks.all_reduce(tensor, levin::ReduceOp::sum, "unit \"a\"").synchronize();
    BOOST_ERROR("no time-out");
  } catch (const CommunicatorAborted& error) {
    const std::string text = error.what();
    BOOST_TEST((error.exit_code() == levin::ExitCode::rank_lost));
    for (const std::string part :
         {"all_reduce number 2 of 100 Float, sum for unit \"a\"", "communicator world", "is not through after 1 s", "missing: "})
      BOOST_CHECK_MESSAGE(text.find(part) != std::string::npos, "\"" << part << "\" is not in: " << text);
    const std::string missing = text.substr(text.find("missing: "));
    BOOST_TEST(missing.find(name_of(job.size() - 1)) != std::string::npos, text);
    BOOST_TEST(missing.find("(1 of 2 calls)") != std::string::npos, text);
    for (int rank = 0; rank + 1 < job.size(); rank++) BOOST_TEST(missing.find(name_of(rank)) == std::string::npos, text);
  }
  BOOST_TEST(seconds_since(begin) > 0.9);
  BOOST_TEST(seconds_since(begin) < 6);
}

// NCCL connects ranks in their first call: the host waits in it.
BOOST_AUTO_TEST_CASE(a_rank_that_does_not_connect_is_named) {
  if (runtime().size() == 1) return;
  NcclJob job(1s);
  auto& ranks = job.start();
  nccl_settings().connect_at_first_call = true;
  const auto run = [&] {
    if (job.rank() == 0)
      wait_for_the_end(job);
    else
      ranks.all_reduce(device_tensor(10)).synchronize();
  };
  check_throws<CommunicatorAborted>(run, {"all_reduce number 1", "missing: rank 0 on "});
}

BOOST_AUTO_TEST_CASE(a_kernel_that_hangs_on_all_ranks) {
  NcclJob job(1s);
  auto& ranks = job.start();
  nccl_settings().hang_at = 2;
  check_throws<CommunicatorAborted>([&] { reduce_until_the_end(ranks); }, {"all_reduce number 2", "all ranks have reached it"});
}

// A long computation before a collective is not the collective's time.
BOOST_AUTO_TEST_CASE(a_busy_device_is_not_a_time_out) {
  NcclJob job(500ms);
  auto& ranks = job.start();
  const Tensor tensor = device_tensor(10);
  meet();
  for (int i = 0; i < 2; i++) {
    stand_in::launch(c10::cuda::getCurrentCUDAStream().stream(), [] { std::this_thread::sleep_for(800ms); });
    fill(tensor, 1);
    ranks.all_reduce(tensor).wait();
  }
  BOOST_TEST(all_are(tensor, static_cast<float>(job.size())));
}

// Communicators that are split from each other have one stream. The last rank is late twice, each time for less than the time-out.
BOOST_AUTO_TEST_CASE(the_time_of_another_communicator_is_not_counted) {
  if (runtime().size() == 1) return;
  NcclJob job(2s);
  auto& ranks = job.start();
  const auto part = ranks.split(0, job.rank());
  const Tensor first = device_tensor(10), second = device_tensor(10);
  fill(first, 1);
  fill(second, 1);
  meet();
  const auto compute = [&] {
    if (job.last()) stand_in::launch(c10::cuda::getCurrentCUDAStream().stream(), [] { std::this_thread::sleep_for(1200ms); });
  };
  compute();
  auto before = part->all_reduce(first);
  if (job.last()) before.wait();
  compute();
  auto after = ranks.all_reduce(second);
  before.wait();
  after.wait();
  BOOST_TEST(all_are(first, static_cast<float>(job.size())));
  BOOST_TEST(all_are(second, static_cast<float>(job.size())));
}

BOOST_AUTO_TEST_CASE(an_abort_ends_waits_for_the_device) {
  if (runtime().size() == 1) return;
  NcclJob job;
  auto& ranks = job.start();
  const Tensor tensor = connect_ranks(ranks, 10);
  levin::Work work;
  if (job.rank() != 0) work = ranks.all_reduce(tensor);  // rank 0 does not come
  meet();                                                // the abort comes when the others' kernels wait
  if (job.rank() == 0) {
    ranks.abort("enough");
    return;
  }
  const auto begin = Clock::now();
  cudaDeviceSynchronize();  // without an end where no thread forwards the abort to NCCL
  BOOST_TEST(seconds_since(begin) < 5);
  check_throws<CommunicatorAborted>([&] { work.wait(); }, {"rank 0 ended the job", "enough"});
}

// In a program's own loop, without a Session.
BOOST_AUTO_TEST_CASE(a_rank_that_unwinds_ends_the_waits_of_the_others) {
  if (runtime().size() == 1) return;
  NcclJob job;
  const auto begin = Clock::now();
  try {
    const std::unique_ptr<levin::Communicator> ranks = levin::NcclCommunicator::create(runtime(), {}, c10::Device(c10::kCUDA, 0));
    const Tensor tensor = connect_ranks(*ranks, 10);
    if (job.rank() == 0) throw std::runtime_error("rank 0 fails");
    auto work = ranks->all_reduce(tensor);
    cudaDeviceSynchronize();
    work.wait();
    BOOST_ERROR("the wait ended without an error");
  } catch (const CommunicatorAborted& error) {
    BOOST_TEST(error.by_rank() == 0);
  } catch (const std::runtime_error&) {
    BOOST_TEST(job.rank() == 0);
  }
  BOOST_TEST(seconds_since(begin) < 10);
}

// The same inside a part: a child goes before its parent.
BOOST_AUTO_TEST_CASE(a_rank_that_unwinds_a_split_ends_the_waits_of_the_others) {
  if (runtime().size() == 1) return;
  NcclJob job;
  auto& ranks = job.start();
  const auto run = [&] {
    const auto part = ranks.split(0, job.rank());
    const Tensor tensor = device_tensor(10);
    if (job.last()) throw std::runtime_error("the last rank fails");
    part->all_reduce(tensor).synchronize();
  };
  if (job.last())
    BOOST_CHECK_THROW(run(), std::runtime_error);
  else
    check_throws<CommunicatorAborted>(run, {"rank " + std::to_string(job.size() - 1) + " ended the job"});
}

// A part has its own communicator of NCCL.
BOOST_AUTO_TEST_CASE(an_asynchronous_error_of_a_part_ends_the_job) {
  NcclJob job;
  auto& ranks = job.start();
  const auto part = ranks.split(0, job.rank());
  meet();
  if (job.last()) nccl_settings().async_error_at = nccl_findings().calls + 2;
  const auto begin = Clock::now();
  check_throws<CommunicatorAborted>([&] { reduce_until_the_end(*part); },
                                    {"rank " + std::to_string(job.size() - 1) + " ended the job", "NCCL failed", "network error"});
  BOOST_TEST(seconds_since(begin) < 10);
  check_throws<CommunicatorAborted>([&] { ranks.all_reduce(device_tensor(10)); }, {"ended the job"});
}

BOOST_AUTO_TEST_CASE(a_message_that_does_not_come_is_named) {
  if (runtime().size() == 1) return;
  NcclJob job(1s);
  auto& ranks = job.start();
  const auto begin = Clock::now();
  const auto run = [&] {
    if (job.rank() == 1)
      ranks.recv(device_tensor(10), 0, "the input").synchronize();
    else
      wait_for_the_end(job);
  };
  check_throws<CommunicatorAborted>(
      run, {"rank 1 ended the job", "recv number 1 of 10 Float", "the input", "is not through after 1 s", "rank 0 on "});
  BOOST_TEST(seconds_since(begin) < 6);
}

// They share their resources, and an abort of one ends the kernels of all.
BOOST_AUTO_TEST_CASE(a_part_that_nccl_cannot_end_leaves_the_others) {
  NcclJob job;
  auto& ranks = job.start();
  const Tensor tensor = device_tensor(10);
  fill(tensor, 1);
  {
    const auto part = ranks.split(0, job.rank());
    part->all_reduce(tensor).synchronize();
    nccl_settings().fail_in_finalize = true;
  }
  nccl_settings().fail_in_finalize = false;
  ranks.all_reduce(tensor).wait();
  BOOST_TEST(all_are(tensor, static_cast<float>(job.size() * job.size())));
  BOOST_TEST(nccl_findings().aborts == 0);
}

// NCCL may find it, and ends the job.
BOOST_AUTO_TEST_CASE(ranks_in_different_calls) {
  if (runtime().size() == 1) return;
  NcclJob job;
  auto& ranks = job.start();
  const auto run = [&] {
    const Tensor tensor = device_tensor(10);
    (job.rank() == 0 ? ranks.all_reduce(tensor) : ranks.broadcast(tensor, 0)).synchronize();
    reduce_until_the_end(ranks);
  };
  check_throws<levin::Error>(run, {"failed: invalid usage"});  // of the call, or later
  job.stop();
  meet();
  stand_in::reset();
}

// NCCL may find nothing; the ranks' hashes differ.
BOOST_AUTO_TEST_CASE(ranks_in_different_calls_have_different_hashes) {
  if (runtime().size() == 1) return;
  NcclJob job;
  auto& ranks = job.start();
  nccl_settings().compare_calls = false;
  const Tensor tensor = device_tensor(10);
  ranks.all_reduce(tensor, levin::ReduceOp::sum, "first").synchronize();
  const std::vector<const levin::Communicator*> compared{&ranks};
  const auto same_on_all = [&](double hash) {
    double least = hash, largest = hash;
    MPI_Allreduce(MPI_IN_PLACE, &least, 1, MPI_DOUBLE, MPI_MIN, runtime().communicator());
    MPI_Allreduce(MPI_IN_PLACE, &largest, 1, MPI_DOUBLE, MPI_MAX, runtime().communicator());
    return least == largest;
  };
  BOOST_TEST(same_on_all(levin::detail::combined_call_hash(compared)));
  ranks.all_reduce(tensor, levin::ReduceOp::sum, job.last() ? "unit \"b\"" : "unit \"a\"").synchronize();
  const double hash = levin::detail::combined_call_hash(compared);
  BOOST_TEST(!same_on_all(hash));
  const std::string other = "rank " + std::to_string(job.size() - 1);
  check_throws<levin::CommunicatorError>([&] { levin::detail::throw_call_disagreement(ranks, compared, hash); },
                                         {"rank 0 called all_reduce number 2 of 10 Float, sum for unit \"a\"",
                                          other + " called all_reduce number 2 of 10 Float, sum for unit \"b\""});
}

// What waits in NCCL on the host ends with the job, and after its limit. Like the next, it leaves threads that wait until the process ends.
BOOST_AUTO_TEST_CASE(a_split_that_waits_can_be_ended) {
  if (runtime().size() == 1) return;
  NcclJob job;
  for (const bool aborted : {true, false}) {
    ncclUniqueId id;
    if (job.rank() == 0) BOOST_REQUIRE(ncclGetUniqueId(&id) == ncclSuccess);
    MPI_Bcast(&id, sizeof(id), MPI_BYTE, 0, runtime().communicator());
    const auto begin = Clock::now();
    const auto poll = [&] {
      if (aborted && seconds_since(begin) > 0.2) throw CommunicatorAborted(0, "enough");
    };
    const levin::NcclLink::Options options{c10::Device(c10::kCUDA, 0), [] {}, 10s, "", "world"};
    const auto link = levin::NcclLink::connect({&id, 1}, job.rank(), job.size(), options);
    if (job.rank() != 0) {
      const auto split = [&] { link->split(0, job.rank(), {options.device, poll, 1s, "2 ranks on a", "part"}); };
      if (aborted)
        check_throws<CommunicatorAborted>(split, {"enough"});
      else
        check_throws<levin::CudaError>(split, {"ncclCommSplit: ranks are missing after 1 s: 2 ranks on a"});
      BOOST_TEST(seconds_since(begin) < 5);
      check_throws<levin::CudaError>([&] { link->run("ncclAllReduce", [](ncclComm_t) { return ncclSuccess; }); }, {"ncclAllReduce"});
    }
    meet();
  }
}

// A rank waits in NCCL for the others of its host when it ends its communicator, and one of them ends the job.
BOOST_AUTO_TEST_CASE(the_end_of_a_communicator_can_be_ended) {
  if (runtime().size() == 1) return;
  NcclJob job;
  auto& ranks = job.start();
  const Tensor tensor = connect_ranks(ranks, 10);
  nccl_settings().hang_in_finalize = true;
  meet();
  const auto begin = Clock::now();
  if (job.rank() == 0) {
    std::this_thread::sleep_for(300ms);
    ranks.abort("enough");
  }
  job.stop();
  BOOST_TEST(seconds_since(begin) < 5);
}

// The last: its threads wait until the process ends.
BOOST_AUTO_TEST_CASE(ranks_that_are_missing_at_the_start) {
  if (runtime().size() == 1) return;
  NcclJob job(1s);
  nccl_settings().hang_in_init = job.last();
  const auto begin = Clock::now();
  check_throws<levin::Error>([&] { job.start(); }, {"ranks are missing after 1 s", std::to_string(job.size()) + " ranks on"});
  BOOST_TEST(seconds_since(begin) < 6);
}

BOOST_AUTO_TEST_SUITE_END()
