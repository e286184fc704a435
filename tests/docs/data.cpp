// The program of docs/data.md, and the job in the README, which comes first and so has what it includes itself.
#include <unistd.h>

#include "docs/README.h"
#include "docs/data_guide.h"
#include "levin/data/batch_plan.h"
#include "run_guide.h"

using levin::test::run_guide;
using levin::test::runtime;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(docs_data)

namespace {

// A folder that all ranks know, and that goes with its object.
struct Folder {
  Folder() : path(fs::temp_directory_path() / fmt::format("levin-guide-{}", number())) {}
  ~Folder() {
    MPI_Barrier(MPI_COMM_WORLD);
    std::error_code ignored;
    if (runtime().rank() == 0) fs::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  static long long number() {
    runtime();
    long long mine = getpid();
    MPI_Bcast(&mine, 1, MPI_LONG_LONG, 0, MPI_COMM_WORLD);
    return mine;
  }
  fs::path path;
};

std::vector<int64_t> sizes(const levin::BatchPlanInput& input) {
  const levin::BatchPlan plan(input);
  std::vector<int64_t> all;
  for (int64_t batch = 0; batch < plan.batches(); batch++)
    for (int64_t rank = 0; rank < input.world_size; rank++) all.push_back(plan.range(batch, rank).size());
  return all;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_readmes_job_runs) {
  for (const auto* subcommand : {"fit", "validate"})
    BOOST_TEST(run_guide(README::main, {subcommand, "--trainer.fast_dev_run", "true", "--model.hidden", "8"}) == 0);
}

BOOST_AUTO_TEST_CASE(the_program_runs) {
  const Folder folder;
  const std::vector<std::string> common{"--trainer.fast_dev_run", "3", "--data.directory", folder.path.string()};
  const auto run = [&](std::vector<std::string> words) {
    words.insert(words.end(), common.begin(), common.end());
    return run_guide(data_guide::main, words);
  };
  for (const auto* subcommand : {"fit", "validate", "test", "predict"}) BOOST_TEST(run({subcommand, "--data.num_workers", "2"}) == 0);
  BOOST_TEST(run({"fit", "--data.simulate", "true", "--data.global_batch_size", "24"}) == 0);
}

// Each step of a walk counts once, on any number of ranks: a net that predicts 0 has the mean square of the steps as its loss.
BOOST_AUTO_TEST_CASE(its_losses_are_means_over_steps) {
  const Folder folder;
  data_guide::WalkData data({.directory = folder.path, .walks = 230, .loader = {.batch_size = 4}});
  levin::Trainer trainer({.session = {.precision = levin::Precision::float64}}, runtime());
  const auto model = trainer.build<data_guide::NextStep>();
  {
    const at::NoGradGuard no_grad;
    model->net->weight.zero_(), model->net->bias.zero_();
  }
  const auto values = trainer.validate(*model, data);
  levin::DataLoader all(data.test_dataloader().dataset, {.batch_size = 1, .shuffle = false});
  double squares = 0, steps = 0;
  while (const levin::Batch* batch = all.next()) {
    squares += (*batch)["x"].diff(1, 1).to(at::kDouble).square().sum().item<double>();
    steps += batch->weight();
  }
  for (const auto* name : {"val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"})
    BOOST_TEST(*levin::find_value(values, name) == squares / steps, boost::test_tools::tolerance(1e-5));
}

BOOST_AUTO_TEST_CASE(its_images_are_read) {
  const Folder folder;
  if (runtime().rank() == 0) {
    fs::create_directories(folder.path);
    const auto write = [&](const char* name, const std::string& bytes) { std::ofstream(folder.path / name, std::ios::binary) << bytes; };
    write("train-images-idx3-ubyte", std::string("\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\xff\x33\x66", 20));
    write("train-labels-idx1-ubyte", std::string("\0\0\x08\x01\0\0\0\x02\x07\x03", 10));
    const auto data = data_guide::digits(folder.path);
    levin::Batch batch;
    const int64_t second[] = {1};
    data->get(second, batch);
    BOOST_TEST(batch["label"].item<int64_t>() == 3);
    BOOST_TEST(batch["image"].sizes() == (std::vector<int64_t>{1, 1, 1, 2}));
    BOOST_TEST(batch["image"].sum().item<float>() == 0.6f, boost::test_tools::tolerance(1e-6f));
  }
}

BOOST_AUTO_TEST_CASE(the_numbers_of_its_example) {
  levin::BatchPlanInput input{.samples = 100, .batch_size = 16, .world_size = 2, .accumulate = 2};
  BOOST_TEST(sizes(input) == (std::vector<int64_t>{16, 16, 16, 16, 9, 9, 9, 9}), boost::test_tools::per_element());
  input.drop_last = true;
  BOOST_TEST(sizes(input) == (std::vector<int64_t>{16, 16, 16, 16, 16, 16}), boost::test_tools::per_element());
  input.batch_size = 0, input.global_batch_size = 64;
  BOOST_TEST(sizes(input) == (std::vector<int64_t>{16, 16, 16, 16}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
