#include "levin/comm/mpi_runtime.h"

#include "levin/comm/communicator.h"
#include "levin_test.h"
#include "mpi_calls.h"

using levin::test::check_throws;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(comm_mpi_runtime)

BOOST_AUTO_TEST_CASE(errors_are_exceptions) {
  const auto send = [](const levin::MpiRuntime& mpi) {
    const int value = 0;
    levin::check_mpi(MPI_Send(&value, 1, MPI_INT, mpi.size() + 5, 0, mpi.communicator()), "MPI_Send");
  };
  check_throws<levin::CommunicatorError>([&] { send(runtime()); }, {"[comm] MPI_Send failed", "rank"});
  const levin::MpiRuntime lent(runtime().communicator());
  check_throws<levin::CommunicatorError>([&] { send(lent); }, {"MPI_Send failed"});
}

BOOST_AUTO_TEST_CASE(a_given_communicator_is_duplicated) {
  int compared = 0;
  {
    const levin::MpiRuntime lent(runtime().communicator());
    MPI_Comm_compare(lent.communicator(), runtime().communicator(), &compared);
    BOOST_TEST(compared == MPI_CONGRUENT);
    BOOST_TEST(lent.rank() == runtime().rank());
    BOOST_TEST(lent.thread_level() == runtime().thread_level());
  }
  BOOST_TEST(MPI_Barrier(runtime().communicator()) == MPI_SUCCESS);  // MPI is left running
  check_throws<levin::UsageError>([] { levin::MpiRuntime none(MPI_COMM_NULL); }, {"[comm]", "MPI_COMM_NULL"});
}

BOOST_AUTO_TEST_CASE(calls_are_counted) {
  const auto before = levin::test::mpi_calls();
  MPI_Barrier(runtime().communicator());
  BOOST_TEST(levin::test::mpi_calls() == before + 1);
  const levin::MpiRuntime lent(runtime().communicator());  // from inside the library, too
  BOOST_TEST(levin::test::mpi_calls() > before + 1);
}

BOOST_AUTO_TEST_SUITE_END()
