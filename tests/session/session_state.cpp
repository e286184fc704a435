#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <fcntl.h>
#include <unistd.h>

#include <fstream>

#include "../trainer/toy.h"
#include "folder_of_ranks.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "levin/session/checkpoints.h"
#include "levin/session/load_from.h"
#include "levin/session/session.h"
#include "levin/session/state_reader.h"
#include "levin_test.h"
#include "samples.h"

using levin::Session;
using levin::StateDict;
using levin::Tensor;
using levin::test::check_throws;
using levin::test::FolderOfRanks;
using levin::test::runtime;
using levin::test::samples;
using levin::test::Toy;

BOOST_AUTO_TEST_SUITE(session_state)

namespace {

levin::SessionConfig config(levin::StrategyConfig strategy = {}) {
  return {.strategy = std::move(strategy), .precision = levin::Precision::float64};
}

/// A program's own loop: 12 samples a step, shared among the ranks.
struct Training {
  explicit Training(levin::MpiRuntime& mpi, const levin::SessionConfig& session_config = config(), uint64_t seed = 3)
      : session(mpi, session_config, seed), model(session.build<Toy>()) {
    model->spec = levin::AdamW{.lr = 0.05};
    model->spec.lr_scheduler = levin::CosineAnnealingLR{};
    session.progress().total_steps = 10;
    session.setup(*model);
  }
  void run_to(int64_t step) {
    while (session.progress().step < step) {
      const int64_t count = 12 / session.size();
      levin::Batch batch = samples(session.progress().step * 3 + session.rank() * count, count);
      session.receive(batch);
      session.backward(model->training_step(batch), batch.weight());
      session.step();
    }
  }
  std::vector<Tensor> parameters() {
    std::vector<Tensor> all;
    session.read_parameters([&](const std::string&, const Tensor& tensor) { all.push_back(tensor.detach().clone()); });
    return all;
  }

  Session session;
  std::shared_ptr<Toy> model;
};

/// Counts its calls, and has a different value on each rank.
struct Counter : levin::Stateful {
  std::string state_name() const override { return "callbacks/counter"; }
  void save(StateDict& state) override {
    state.set("calls", calls);
    state.set("mine", StateDict::EachRank{at::full({2}, 10.0 * runtime().rank(), at::kDouble)});
    state.set("rows", StateDict::RankRows{at::full({runtime().rank(), 3}, runtime().rank(), at::kLong)});
    state.set("common", Tensor(at::full({1}, 7.0)));
  }
  void load(const StateDict& state) override { loaded = state; }
  int64_t calls = 0;
  StateDict loaded;
};

}  // namespace

BOOST_AUTO_TEST_CASE(a_restored_loop_equals_the_unbroken_one) {
  const FolderOfRanks folder;
  for (const levin::StrategyConfig& strategy : std::vector<levin::StrategyConfig>{
           levin::AutoStrategy{}, levin::FSDP{.sharding = {.share_parameters = levin::ShareParameters::none}}}) {
    if (runtime().size() == 1 && strategy.index() != 0) continue;
    Training unbroken(runtime(), config(strategy));
    unbroken.run_to(4);
    const auto report = unbroken.session.save(folder.path / "step=4", {{"origin", "a simulation"}});
    BOOST_TEST(report.path == folder.path / "step=4");
    unbroken.run_to(9);
    const auto expected = unbroken.parameters();

    Training resumed(runtime(), config(strategy));
    resumed.session.restore(folder.path / "step=4");
    BOOST_TEST(resumed.session.progress().step == 4);
    BOOST_TEST(resumed.session.learning_rate() < 0.05);
    resumed.run_to(9);
    const auto found = resumed.parameters();
    BOOST_REQUIRE(found.size() == expected.size());
    for (size_t i = 0; i < found.size(); i++) BOOST_TEST(at::equal(found[i], expected[i]));
  }
  // On another number of ranks: the same up to the order of sums.
  Training unbroken(runtime());
  unbroken.run_to(9);
  const auto expected = unbroken.parameters();
  levin::MpiRuntime alone(MPI_COMM_SELF);
  Training resumed(alone);
  resumed.session.restore(folder.path / "step=4");
  resumed.run_to(9);
  const auto found = resumed.parameters();
  BOOST_REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); i++) BOOST_TEST(at::allclose(found[i], expected[i], 1e-12, 1e-12));
}

// One folder fails while another one, for weights alone, works, and the reverse.
BOOST_AUTO_TEST_CASE(failed_saves_are_counted_in_each_folder) {
  const FolderOfRanks folder;
  const auto resumable = folder.path / "resumable", weights = folder.path / "weights";
  Training training(runtime());
  levin::Checkpoints checkpoints(training.session);
  checkpoints.use(weights);
  checkpoints.use(resumable);
  const auto loop = [&] {
    StateDict state;
    state.set("step", training.session.progress().step);
    state.set("epoch", 0);
    return state;
  };
  int commits = 0;
  const auto save_at = [&](int64_t step, bool in_background = false) {
    training.run_to(step);
    checkpoints.request({.folder = resumable, .name = {}, .in_background = in_background, .done = [&](const auto&) { commits++; }});
    checkpoints.request({.folder = weights, .name = {}, .weights_only = true, .in_background = false});
    checkpoints.at_boundary(loop);
  };
  const auto on_rank_0 = [](const auto& change) {
    MPI_Barrier(runtime().communicator());
    if (runtime().rank() == 0) change();
    MPI_Barrier(runtime().communicator());
  };
  const auto block = [&](const std::filesystem::path& path) {
    on_rank_0([&] {
      std::filesystem::remove_all(path);
      std::ofstream(path) << "a file in its place";
    });
  };

  block(resumable);
  save_at(1);
  BOOST_TEST(!checkpoints.save_for_stop(loop));  // its second failure
  on_rank_0([&] { std::filesystem::remove(resumable); });
  block(weights);
  save_at(2, /*in_background=*/true);
  BOOST_TEST(checkpoints.save_for_stop(loop));
  BOOST_TEST(commits == 1);
  BOOST_TEST(levin::list_checkpoints(resumable).checkpoints.size() == 1u);

  on_rank_0([&] { std::filesystem::remove(weights); });
  block(resumable);
  save_at(3);
  save_at(4);
  check_throws<levin::IoError>([&] { save_at(5); }, {"[checkpoint]"});
}

BOOST_AUTO_TEST_CASE(attached_objects_keep_their_state) {
  const FolderOfRanks folder;
  Training training(runtime());
  training.run_to(1);
  Counter counter, same_name;
  counter.calls = 5 + runtime().rank();
  training.session.attach(counter);
  check_throws<levin::UsageError>([&] { training.session.attach(same_name); }, {"\"callbacks/counter\"", "state_name"});
  training.session.save(folder.path / "with");
  training.session.detach(counter);
  training.session.save(folder.path / "without");

  Training resumed(runtime());
  Counter restored;
  resumed.session.attach(restored);
  resumed.session.restore(folder.path / "without");
  BOOST_TEST(restored.loaded.empty());
  resumed.session.restore(folder.path / "with");
  const int ranks = runtime().size();
  BOOST_TEST(restored.loaded.get<int64_t>("calls") == 5);  // rank 0's
  BOOST_TEST(restored.loaded.get<Tensor>("common").item<float>() == 7);
  const auto& of_ranks = restored.loaded.get<Tensor>("mine");
  BOOST_TEST(of_ranks.sizes() == (std::vector<int64_t>{ranks, 2}));
  for (int rank = 0; rank < ranks; rank++) BOOST_TEST(of_ranks[rank][1].item<double>() == 10 * rank);
  const auto& counts = restored.loaded.get<Tensor>("rows.ranks");
  BOOST_TEST(counts.numel() == ranks);
  if (ranks > 1) {
    const auto& rows = restored.loaded.get<Tensor>("rows");
    BOOST_TEST(rows.size(0) == ranks * (ranks - 1) / 2);
    BOOST_TEST(rows[-1][0].item<int64_t>() == ranks - 1);
  }
}

// Rank 0's text is the one that a checkpoint keeps; the other ranks do not wait for a rank that refused it.
BOOST_AUTO_TEST_CASE(a_text_that_is_not_utf8_is_refused_on_all_ranks) {
  struct Bytes : levin::Stateful {
    std::string state_name() const override { return "callbacks/bytes"; }
    void save(StateDict& state) override { state.set("archive", runtime().rank() == bad ? "\xff" : "text"); }
    void load(const StateDict&) override {}
    int bad = 0;
  };
  const FolderOfRanks folder;
  Training training(runtime());
  Bytes bytes;
  training.session.attach(bytes);
  check_throws<levin::UsageError>([&] { training.session.save(folder.path / "refused"); }, {"\"archive\"", "UTF-8"});
  bytes.bad = 1;
  training.session.save(folder.path / "saved");
  BOOST_TEST(std::filesystem::exists(folder.path / "saved"));
  training.session.detach(bytes);
}

BOOST_AUTO_TEST_CASE(a_checkpoint_that_does_not_fit_is_refused) {
  const FolderOfRanks folder;
  Training training(runtime());
  training.run_to(2);
  training.session.save(folder.path / "good");
  Training other_seed(runtime(), config(), 4);
  check_throws<levin::ConfigError>([&] { other_seed.session.restore(folder.path / "good"); }, {"seed 3", "seed 4"});
  check_throws<levin::DataError>([&] { training.session.restore(folder.path / "none"); }, {"none"});
  training.session.communicator().barrier();
  if (runtime().rank() == 0) {
    std::fstream file(folder.path / "good/state.h5", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-8, std::ios::end);
    file.put('!');
  }
  training.session.communicator().barrier();
  check_throws<levin::DataError>([&] { training.session.restore(folder.path / "good"); }, {"good"});
}

BOOST_AUTO_TEST_CASE(a_read_error_while_loading_is_not_corruption) {
  namespace fs = std::filesystem;
  const FolderOfRanks folder;
  Training training(runtime());
  training.run_to(1);
  training.session.save(folder.path / "good");
  const levin::CheckpointReader reader(folder.path / "good", training.session.communicator(),
                                       {.verify_on_read = levin::read_once_by_trainers()});
  // A directory takes the open file's place, so that reads fail.
  const auto file = fs::canonical(folder.path / "good/state.h5");
  const int directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int replaced = 0;
  for (int descriptor = 0; descriptor < directory + 256; descriptor++) {
    std::error_code unseen;
    if (fs::read_symlink("/proc/self/fd/" + std::to_string(descriptor), unseen) != file) continue;
    BOOST_TEST(dup2(directory, descriptor) == descriptor);
    replaced++;
  }
  BOOST_TEST(replaced > 0);
  close(directory);
  bool asked = false;
  const levin::LoadFrom from{.checkpoint = &reader,
                             .instead = [&](const levin::CheckpointReader&, const std::string&) -> const levin::CheckpointReader* {
                               asked = true;
                               return nullptr;
                             }};
  check_throws<levin::IoError>([&] { levin::StateReader(training.session, from).load_model(/*weights_only=*/false); },
                               {"cannot read", "state.h5", "Is a directory"});
  BOOST_TEST(!asked);
}

BOOST_AUTO_TEST_SUITE_END()
