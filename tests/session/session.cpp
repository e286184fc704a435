#include "levin/session/session.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <sched.h>
#include <stdlib.h>
#include <torch/optim/sgd.h>

#include "../trainer/toy.h"
#include "levin/data/data_loader.h"
#include "levin/nn/unit.h"
#include "levin_test.h"
#include "samples.h"

using levin::Session;
using levin::Tensor;
using levin::test::runtime;
using levin::test::samples;
using levin::test::Toy;
using levin::test::ToyData;

BOOST_AUTO_TEST_SUITE(session_session)

namespace {

struct CountedImpl : levin::Unit<Tensor(Tensor)> {
  CountedImpl() { linear = register_module("linear", torch::nn::Linear(3, 3)); }
  Tensor compute(Tensor x) override {
    computed++;
    return linear(x);
  }
  torch::nn::Linear linear{nullptr};
  int computed = 0;
};
LEVIN_UNIT(Counted);

struct WithUnit : torch::nn::Module {
  WithUnit() { unit = register_module("unit", Counted()); }
  Counted unit{nullptr};
};

/// A machine of two NUMA domains with a core each, as hwloc sees it; this rank may run on one of them, or on both.
class TwoDomains {
 public:
  TwoDomains() {
    BOOST_REQUIRE(sched_getaffinity(0, sizeof(before_), &before_) == 0);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
      if (CPU_ISSET(cpu, &before_)) cpus_.push_back(cpu);
    if (!available()) return;
    setenv("HWLOC_SYNTHETIC", fmt::format("numa:2 core:1 pu:1(indexes={},{})", cpus_[0], cpus_[1]).c_str(), 1);
    setenv("HWLOC_THISSYSTEM", "1", 1);
  }
  ~TwoDomains() {
    unsetenv("HWLOC_SYNTHETIC"), unsetenv("HWLOC_THISSYSTEM");
    sched_setaffinity(0, sizeof(before_), &before_);
  }
  TwoDomains(const TwoDomains&) = delete;
  TwoDomains& operator=(const TwoDomains&) = delete;
  bool available() const { return cpus_.size() >= 2; }
  void bind(size_t domain) const {
    cpu_set_t single;
    CPU_ZERO(&single);
    CPU_SET(static_cast<size_t>(cpus_[domain]), &single);
    BOOST_REQUIRE(sched_setaffinity(0, sizeof(single), &single) == 0);
  }

 private:
  cpu_set_t before_;
  std::vector<int> cpus_;
};

}  // namespace

// A program with a loop of its own: rank r brings r samples, so rank 0 brings none and passes weight 0.
BOOST_AUTO_TEST_CASE(own_loop_with_unequal_batches) {
  const int rank = runtime().rank(), size = runtime().size();
  Session session(runtime(), {.precision = levin::Precision::float64}, 3);
  const auto model = session.build<Toy>();
  session.setup(*model);
  for (int step = 0; step < 4; step++) {
    levin::Batch batch = samples(step * 10 + rank * (rank - 1) / 2, std::max(rank, 1));
    session.receive(batch);
    BOOST_TEST(batch["x"].scalar_type() == at::kDouble);
    session.backward(model->training_step(batch), size == 1 ? 1 : rank);
    BOOST_TEST(session.step());
  }
  BOOST_TEST(session.progress().step == 4);

  // The same samples on this rank alone.
  levin::MpiRuntime alone(MPI_COMM_SELF);
  Session reference(alone, {.precision = levin::Precision::float64}, 3);
  const auto plain = reference.build<Toy>();
  reference.setup(*plain);
  for (int step = 0; step < 4; step++) {
    levin::Batch batch = samples(step * 10, std::max(1, size * (size - 1) / 2));
    reference.receive(batch);
    reference.backward(plain->training_step(batch), batch.weight());
    reference.step();
  }
  BOOST_TEST(at::allclose(model->net->weight, plain->net->weight, 1e-12, 1e-12));
  session.communicator().barrier();
}

// Ranks of a tensor-parallel group get the same samples and random numbers, and count each sample once.
BOOST_AUTO_TEST_CASE(a_tensor_parallel_group_counts_its_samples_once) {
  if (runtime().size() % 2 != 0) return;
  Session session(runtime(), {.precision = levin::Precision::float64}, 3, {}, {.tp = 2});
  const auto& mesh = session.mesh();
  BOOST_TEST(mesh.data().size() == runtime().size() / 2);
  const auto model = session.build<Toy>();
  session.setup(*model);
  levin::DataLoader loader(ToyData::make(64), {.batch_size = 5}, {.rank = mesh.data().index, .world_size = mesh.data().size(), .seed = 9});
  levin::MpiRuntime alone(MPI_COMM_SELF);
  Session reference(alone, {.precision = levin::Precision::float64}, 3);
  const auto plain = reference.build<Toy>();
  reference.setup(*plain);
  levin::DataLoader whole(ToyData::make(64), {.batch_size = 5 * mesh.data().size()}, {.seed = 9});
  loader.set_epoch(0), whole.set_epoch(0);
  auto& world = session.communicator();
  for (int step = 0; step < 3; step++) {
    levin::Batch& batch = *loader.next();
    const Tensor drawn = at::zeros({world.size(), 2}, at::kDouble);
    session.seed_micro_batch(step);
    drawn[world.rank()][0] = at::rand({1}, at::kDouble)[0];
    drawn[world.rank()][1] = static_cast<double>(batch.indices().front());
    world.all_reduce(drawn).wait();
    for (int rank = 0; rank < world.size(); rank++)
      for (int other = 0; other < rank; other++) {
        const auto& layout = mesh.layout();
        const bool same = layout.seed_rank(rank) == layout.seed_rank(other);
        BOOST_TEST(at::equal(drawn[rank], drawn[other]) == same);
        BOOST_TEST((layout.data(rank).index == layout.data(other).index) == same);
      }
    session.receive(batch);
    session.backward(model->training_step(batch), batch.weight());
    BOOST_TEST(session.step());
    levin::Batch& all = *whole.next();
    reference.receive(all);
    reference.backward(plain->training_step(all), all.weight());
    reference.step();
  }
  BOOST_TEST(at::allclose(model->net->weight, plain->net->weight, 1e-12, 1e-12));
  // A wish of one rank reaches all, whatever groups they are in.
  if (runtime().rank() == runtime().size() - 1) session.request_stop(levin::StopReason::requested);
  session.exchange_requests();
  BOOST_TEST(session.should_stop());
  session.communicator().barrier();
}

BOOST_AUTO_TEST_CASE(a_copy_of_the_parameters_in_each_numa_domain) {
  const TwoDomains machine;
  if (!machine.available()) return;
  const levin::SessionConfig config{.strategy = levin::DDP{levin::ShareParameters::numa}};
  if (runtime().size() > 1)
    levin::test::check_throws<levin::ConfigError>([&] { Session(runtime(), config); }, {"several NUMA domains", "--bind-to core"});
  machine.bind(static_cast<size_t>(runtime().rank()) % 2);
  const auto trained = [&](const levin::SessionConfig& options) {
    Session session(runtime(), options, 3);
    if (runtime().size() > 1) {
      const char* domain = options.strategy.index() == config.strategy.index() ? "a NUMA domain" : "a node";
      BOOST_TEST(session.strategy().describe().find(domain) != std::string::npos);
    }
    const auto model = session.build<Toy>();
    session.setup(*model);
    for (int step = 0; step < 3; step++) {
      levin::Batch batch = samples(step * 10 + runtime().rank(), 1);
      session.backward(model->training_step(batch), 1);
      BOOST_TEST(session.step());
    }
    session.communicator().barrier();
    return model->net->weight.detach().clone();
  };
  BOOST_TEST(at::allclose(trained(config), trained({.strategy = levin::Zero1{}}), 1e-5, 1e-6));
}

BOOST_AUTO_TEST_CASE(a_bad_config_is_refused_before_any_collective) {
  if (runtime().rank() != 0) return;  // the others make no session, and nothing waits for them
  levin::test::check_throws<levin::ConfigError>([&] { Session(runtime(), {.num_threads = -1}); }, {"num_threads"});
}

// One rank's program leaves its loop by an exception: the others, in the middle of theirs, hear of it.
BOOST_AUTO_TEST_CASE(an_exception_that_leaves_a_session_ends_the_others_waits) {
  struct SimulationFailed {};
  for (const bool says_why : {false, true}) {
    const int guilty = runtime().size() - 1;
    try {
      Session session(runtime());
      const auto model = session.build<Toy>();
      session.setup(*model);
      for (int step = 0; step < 3; step++) {
        session.backward(model->training_step(samples(step, 2)), 2);
        if (step == 1 && session.rank() == guilty) {
          if (says_why) session.abort("the simulation diverged");
          throw SimulationFailed();
        }
        session.step();
      }
      BOOST_ERROR("nothing was thrown");
    } catch (const SimulationFailed&) {
      BOOST_TEST(runtime().rank() == guilty);
    } catch (const levin::CommunicatorAborted& error) {
      BOOST_TEST(runtime().rank() != guilty);
      BOOST_TEST(error.by_rank() == guilty);
      const std::string reason = says_why ? "the simulation diverged" : "an exception left the scope of its Session";
      BOOST_TEST(std::string(error.what()).find(reason) != std::string::npos, error.what());
    }
    MPI_Barrier(runtime().communicator());
  }
  Session after(runtime());  // its communicator is new
  after.communicator().barrier();
}

// An exception that was there before, and one inside the scope, end nothing.
BOOST_AUTO_TEST_CASE(a_session_that_ends_well_ends_no_waits) {
  struct Cleanup {
    ~Cleanup() {
      Session session(runtime());
      session.communicator().barrier();
    }
  };
  try {
    const Cleanup cleanup;
    throw 1;
  } catch (int) {
  }
  Session session(runtime());
  try {
    throw 1;
  } catch (int) {
  }
  session.communicator().barrier();
}

// A unit is computed again in the backward.
BOOST_AUTO_TEST_CASE(activation_checkpointing) {
  using enum levin::ActivationCheckpointing;
  for (const auto kind : {none, units, offload}) {
    Session session(runtime(), {.activation_checkpointing = kind});
    const auto model = session.build<WithUnit>();
    session.setup(*model, {levin::SGD{}});
    session.backward(model->unit(at::rand({2, 3})).mean(), 2);
    session.step();
    BOOST_TEST(model->unit->computed == (kind == none ? 1 : 2));
    session.communicator().barrier();
  }
}

BOOST_AUTO_TEST_CASE(a_step_without_samples_is_skipped_on_all_ranks) {
  Session session(runtime());
  const auto model = session.build<Toy>();
  session.setup(*model);
  const Tensor before = model->net->weight.detach().clone();
  session.backward(model->training_step(samples(0, 3)), 0);
  BOOST_TEST(!session.step());
  BOOST_TEST(session.progress().step == 0);
  BOOST_TEST(at::equal(model->net->weight, before));
  BOOST_TEST(!model->net->weight.grad().defined());  // nothing is left of it
  session.communicator().barrier();
}

BOOST_AUTO_TEST_CASE(generators_depend_on_seed_rank_step_and_micro_batch) {
  Session session(runtime(), {}, 11);
  session.seed_micro_batch(0);
  const Tensor first = at::rand({4});
  session.seed_micro_batch(1);
  BOOST_TEST(!at::equal(first, at::rand({4})));
  session.seed_micro_batch(0);
  BOOST_TEST(at::equal(first, at::rand({4})));
  Session other(runtime(), {}, 12);
  other.seed_micro_batch(0);
  BOOST_TEST(!at::equal(first, at::rand({4})));
  const Tensor all = at::empty({4 * session.size()}, at::kFloat);
  session.communicator().all_gather(all, first).wait();
  for (int rank = 1; rank < session.size(); rank++) BOOST_TEST(!at::equal(all.narrow(0, 0, 4), all.narrow(0, 4 * rank, 4)));
}

BOOST_AUTO_TEST_CASE(all_ranks_build_the_same_model) {
  Session session(runtime(), {}, 11);
  const auto model = session.build<Toy>();
  const Tensor all = at::empty({4 * session.size()}, at::kFloat);
  session.communicator().all_gather(all, model->net->weight.detach().flatten()).wait();
  for (int rank = 1; rank < session.size(); rank++) BOOST_TEST(at::equal(all.narrow(0, 0, 4), all.narrow(0, 4 * rank, 4)));
}

BOOST_AUTO_TEST_CASE(a_stop_is_seen_by_all_after_the_same_step) {
  Session session(runtime());
  const auto model = session.build<Toy>();
  session.setup(*model);
  for (int step = 0; step < 3; step++) {
    if (step == 1 && session.rank() == session.size() - 1) session.request_stop(levin::StopReason::terminated);
    session.backward(model->training_step(samples(0, 2)), 2);
    session.step();
    BOOST_TEST(session.should_stop() == (step >= 1));
  }
  BOOST_TEST(session.stops_for(levin::StopReason::terminated));
  BOOST_TEST(!session.stops_for(levin::StopReason::interrupted));
  session.communicator().barrier();
}

BOOST_AUTO_TEST_CASE(the_schedule_sets_the_rate_of_the_coming_step) {
  Session session(runtime());
  const auto model = session.build<Toy>();
  levin::OptimizerSpec spec = levin::SGD{.lr = 8};
  spec.lr_scheduler = levin::StepLR{.step_size = 1, .gamma = 0.5, .interval = levin::Interval::step};
  session.setup(*model, {spec});
  BOOST_TEST(session.learning_rate() == 8);
  session.backward(model->training_step(samples(0, 2)), 2);
  const Tensor before = model->net->bias.detach().clone();
  session.communicator().barrier();
  BOOST_TEST(session.reduce());
  session.update();
  session.count_step();
  BOOST_TEST(session.learning_rate() == 4);
  BOOST_TEST(!at::equal(before, model->net->bias));
  session.communicator().barrier();
}

BOOST_AUTO_TEST_CASE(a_plateau_lowers_the_rate_of_a_libtorch_optimizer) {
  Session session(runtime());
  const auto model = session.build<Toy>();
  levin::OptimizerSpec spec = levin::custom([](std::vector<Tensor> p) { return std::make_unique<torch::optim::SGD>(p, 8); });
  spec.lr_scheduler = levin::ReduceLROnPlateau{.monitor = "loss", .factor = 0.5, .patience = 0, .interval = levin::Interval::step};
  session.setup(*model, {spec});
  const levin::NamedValues values{{"loss", 1}};
  session.step_schedulers(levin::Interval::step, values);
  session.step_schedulers(levin::Interval::epoch, values);  // not its moment
  BOOST_TEST(session.learning_rate() == 8);
  session.step_schedulers(levin::Interval::step, values);
  BOOST_TEST(session.learning_rate() == 4);
  BOOST_TEST(session.plateau().reductions == 1);
  const auto step_of = [&] {
    const Tensor before = model->net->bias.detach().clone();
    session.backward(model->training_step(samples(0, 2)), 2);
    BOOST_TEST(session.reduce());
    const Tensor gradient = model->net->bias.grad().clone();
    session.update();
    return ((before - model->net->bias) / gradient).item<float>();
  };
  BOOST_TEST(step_of() == 4, boost::test_tools::tolerance(1e-5f));
  levin::test::check_throws<levin::ConfigError>(
      [&] {
        session.step_schedulers(levin::Interval::step, {{"acc", 1}});
      },
      {"\"loss\"", "not logged", "acc"});
  session.setup(*model, {spec});
  BOOST_TEST(session.learning_rate() == 8);  // a new training
  session.communicator().barrier();
}

BOOST_AUTO_TEST_SUITE_END()
