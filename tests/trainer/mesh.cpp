// Trainings on a mesh with a tensor-parallel axis. No strategy splits a model over it yet: ranks of a group hold the same model.
#include <ATen/ops/allclose.h>
#include <ATen/ops/rand.h>

#include <map>

#include "counting_stream.h"
#include "levin/comm/host_values.h"
#include "levin_test.h"
#include "toy.h"

using namespace levin::test;
using levin::ModelParallel;
using levin::NamedValues;
using levin::Trainer;
using levin::TrainerConfig;

BOOST_AUTO_TEST_SUITE(trainer_mesh)

namespace {

constexpr ModelParallel pairs{.tp = 2};

// What each rank passes, by rank.
template <class T>
std::vector<std::vector<T>> of_each_rank(levin::Session& session, const std::vector<T>& mine) {
  std::vector<std::vector<T>> all;
  for (int rank = 0; rank < session.size(); rank++)
    all.push_back(levin::all_gather_values(session.communicator(), rank == session.rank() ? mine : std::vector<T>()));
  return all;
}

// Ranks of a group have the same indices in the same order, other ranks have others, and one rank of each group have every sample equally
// often.
void check_samples(levin::Session& session, const std::vector<int64_t>& indices, int64_t samples, int times) {
  const auto& layout = session.mesh().layout();
  const auto all = of_each_rank(session, indices);
  for (int rank = 0; rank < session.size(); rank++)
    for (int other = 0; other < rank; other++)
      BOOST_TEST((all[static_cast<size_t>(rank)] == all[static_cast<size_t>(other)]) ==
                 (layout.data(rank).index == layout.data(other).index));
  std::map<int64_t, int> seen;
  for (const int rank : layout.data(0).members)
    for (const int64_t index : all[static_cast<size_t>(rank)]) seen[index]++;
  BOOST_TEST(std::ssize(seen) == samples);
  for (const auto& [index, count] : seen) BOOST_TEST(count == times, "sample " << index << ": " << count);
}

void check_equal(const NamedValues& values, const NamedValues& expected) {
  BOOST_TEST(levin::names_of(values) == levin::names_of(expected));
  for (const auto& [name, value] : expected)
    if (const double* found = levin::find_value(values, name)) BOOST_TEST(*found == value, boost::test_tools::tolerance(1e-9));
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_tensor_parallel_group_counts_its_samples_once) {
  TrainerConfig config{.max_epochs = 2, .num_sanity_val_steps = 0, .log_every_n_steps = 1};
  config.session.precision = levin::Precision::float64;
  ToyData data({.global_batch_size = 7}, 39);  // the last step of an epoch has 4 samples
  Trainer trainer(config, runtime(), 5, {}, pairs);
  auto& session = trainer.session();
  BOOST_TEST(session.mesh().data().size() == runtime().size() / 2);
  const auto module = trainer.build<Toy>();
  std::vector<double> drawn;
  module->in_step = [&] { drawn.push_back(at::rand({1}, at::kDouble).item<double>()); };
  trainer.fit(*module, data);
  BOOST_TEST(trainer.global_step() == 12);
  BOOST_TEST(trainer.report().samples == 2 * 39);
  check_samples(session, module->trained_on, 39, 2);
  check_samples(session, module->evaluated_on, 11, 2);
  const auto draws = of_each_rank(session, drawn);
  const auto& layout = session.mesh().layout();
  for (int rank = 0; rank < session.size(); rank++)
    for (int other = 0; other < rank; other++)
      BOOST_TEST((draws[static_cast<size_t>(rank)] == draws[static_cast<size_t>(other)]) ==
                 (layout.seed_rank(rank) == layout.seed_rank(other)));

  // The same samples on this rank alone.
  levin::MpiRuntime alone(MPI_COMM_SELF);
  Trainer reference(config, alone, 5);
  const auto plain = reference.build<Toy>();
  reference.fit(*plain, data);
  BOOST_TEST(at::allclose(module->net->weight, plain->net->weight, 1e-12, 1e-12));
  check_equal(trainer.report().metrics, reference.report().metrics);
  check_equal(trainer.test(*module, data), reference.test(*plain, data));
  std::vector<int64_t> predicted;
  for (const auto& prediction : trainer.predict(*module, data))
    predicted.insert(predicted.end(), prediction.indices.begin(), prediction.indices.end());
  check_samples(session, predicted, 11, 1);
  session.communicator().barrier();
}

BOOST_AUTO_TEST_CASE(a_tensor_parallel_group_reads_one_part_of_a_stream) {
  struct StreamData : levin::DataModule {
    levin::DataLoaderSpec train_dataloader() override {
      return {std::make_shared<CountingStream>(std::vector<int64_t>{5, 14}), {.batch_size = 3}};
    }
  };
  StreamData data;
  Trainer trainer({.max_epochs = 1}, runtime(), 5, {}, pairs);
  auto& session = trainer.session();
  const bool one_group = session.mesh().data().size() == 1;
  const auto module = trainer.build<Toy>();
  trainer.fit(*module, data);
  BOOST_TEST(trainer.global_step() == (one_group ? 2 : 5));
  BOOST_TEST(trainer.report().samples == (one_group ? 5 : 19));
  double weight = 0;
  for (const double of_batch : module->weights) weight += of_batch;
  BOOST_TEST(weight == (session.mesh().data().index == 0 ? 5 : 14));
}

BOOST_AUTO_TEST_CASE(a_tensor_parallel_group_has_one_own_part_of_the_data) {
  ToyData data({.batch_size = 4}, 12, 12);
  Trainer trainer({.max_epochs = 2, .num_sanity_val_steps = 0, .use_distributed_sampler = false}, runtime(), 5, {}, pairs);
  const auto module = trainer.build<Toy>();
  trainer.fit(*module, data);
  BOOST_TEST(trainer.global_step() == 6);
  BOOST_TEST(trainer.report().samples == 2 * 12 * trainer.session().mesh().data().size());
  const auto orders = of_each_rank(trainer.session(), module->trained_on);
  const auto& layout = trainer.session().mesh().layout();
  for (int rank = 0; rank < runtime().size(); rank++)
    for (const int peer : layout.group({levin::MeshAxis::tp}, rank).members)
      BOOST_TEST(orders[static_cast<size_t>(rank)] == orders[static_cast<size_t>(peer)], boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
