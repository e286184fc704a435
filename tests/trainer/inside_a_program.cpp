// A program that owns MPI and its loop, as a simulation does, with Levin inside: inside_a_program own_loop | two_trainers, on 4 ranks.
// Ends with 0 when all is as it must be; the script inside_a_program_test sees that it prints nothing.
#include <ATen/ops/allclose.h>
#include <fmt/core.h>
#include <mpi.h>
#include <signal.h>

#include <cstring>
#include <string>
#include <vector>

#include "levin/session/session.h"
#include "toy.h"

using levin::test::Toy;
using levin::test::ToyData;

namespace {

void check(bool good, const char* message) {
  if (good) return;
  fmt::print(stderr, "inside_a_program: {}\n", message);
  MPI_Abort(MPI_COMM_WORLD, 1);
}

std::vector<void*> signal_handlers() {
  std::vector<void*> handlers;
  for (int number = 1; number < NSIG; number++) {
    struct sigaction action {};
    if (sigaction(number, nullptr, &action) == 0) handlers.push_back(reinterpret_cast<void*>(action.sa_sigaction));
  }
  return handlers;
}

levin::Batch samples(int64_t first, int64_t count) {
  levin::Batch batch;
  std::vector<int64_t> indices;
  for (int64_t i = first; i < first + count; i++) indices.push_back(i);
  ToyData::make(64)->get(indices, batch);
  batch.set_indices(indices);
  return batch;
}

bool same_weights(Toy& a, Toy& b) { return at::allclose(a.net->weight, b.net->weight, 1e-9, 1e-9); }

/// Five samples a step: one on the first rank of two, four on the second.
std::shared_ptr<Toy> train(levin::Session& session) {
  const auto model = session.build<Toy>();
  session.setup(*model);
  const bool alone = session.size() == 1;
  for (int step = 0; step < 8; step++) {
    auto batch = alone ? samples(5 * step, 5) : samples(5 * step + session.rank(), session.rank() == 0 ? 1 : 4);
    session.receive(batch);
    session.backward(model->training_step(batch), batch.weight());
    check(session.step(), "a step was skipped");
  }
  return model;
}

/// Ranks 1 and 3 train; 0 and 2 go on with the simulation.
void own_loop(int rank) {
  MPI_Comm part;
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &part);
  if (rank % 2 == 1) {
    const levin::SessionConfig config{.precision = levin::Precision::float64, .num_threads = 1};
    levin::MpiRuntime mpi(part), self(MPI_COMM_SELF);
    levin::Session session(mpi, config, 3), reference(self, config, 3);
    check(session.size() == 2, "another number of ranks than in the communicator given");
    const auto model = train(session), plain = train(reference);
    check(same_weights(*model, *plain), "other weights than on one rank");
    session.communicator().barrier();
  } else {
    for (int step = 0; step < 100; step++) {
      int sum = 1;
      MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_INT, MPI_SUM, part);
      check(sum == 2, "the simulation's own communication is wrong");
    }
  }
  MPI_Comm_free(&part);
}

std::shared_ptr<Toy> fit(MPI_Comm communicator, int64_t epochs, double lr) {
  levin::MpiRuntime mpi(communicator);
  levin::TrainerConfig config;
  config.session.precision = levin::Precision::float64;
  config.session.num_threads = 1;
  config.max_epochs = epochs;
  levin::Trainer trainer(config, mpi, 7);
  ToyData data;
  const auto model = trainer.build<Toy>();
  model->spec = levin::SGD{.lr = lr};
  trainer.fit(*model, data);
  check(trainer.global_step() == 5 * epochs, "another number of steps");
  model->net->weight = model->net->weight.detach().clone();
  trainer.session().communicator().barrier();
  return model;
}

/// Two trainings at once, which have nothing in common.
void two_trainers(int rank) {
  MPI_Comm half;
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half);
  const int64_t epochs = rank % 2 == 0 ? 2 : 5;
  const double lr = rank % 2 == 0 ? 0.01 : 0.02;
  const auto model = fit(half, epochs, lr), plain = fit(MPI_COMM_SELF, epochs, lr);
  check(same_weights(*model, *plain), "other weights than on one rank");
  MPI_Comm_free(&half);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  int level = 0, rank = 0, size = 0;
  MPI_Init_thread(&argc, &argv, mode == "own_loop" ? MPI_THREAD_FUNNELED : MPI_THREAD_MULTIPLE, &level);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  check(size == 4, "needs 4 ranks");
  const auto handlers = signal_handlers();
  mode == "own_loop" ? own_loop(rank) : two_trainers(rank);
  check(signal_handlers() == handlers, "a signal's handler has changed");
  MPI_Errhandler handler;
  MPI_Comm_get_errhandler(MPI_COMM_WORLD, &handler);
  check(handler == MPI_ERRORS_ARE_FATAL, "the program's communicator has changed");
  MPI_Barrier(MPI_COMM_WORLD);
  return MPI_Finalize();
}
