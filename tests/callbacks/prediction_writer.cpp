#include "levin/callbacks/prediction_writer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <hdf5.h>

#include "folder_of_ranks.h"
#include "levin/core/error.h"
#include "reference_toy.h"

using namespace levin::test;
using levin::PredictionWriter;
using levin::WriteInterval;

BOOST_AUTO_TEST_SUITE(callbacks_prediction_writer)

namespace {

struct WrittenTable {
  std::vector<int64_t> index;
  std::vector<double> prediction;
  hsize_t width = 0;
};

WrittenTable read_table(const std::filesystem::path& path, const std::string& group = "") {
  WrittenTable table;
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  BOOST_REQUIRE_MESSAGE(file >= 0, path);
  for (const auto* name : {"index", "prediction"}) {
    const hid_t set = H5Dopen2(file, (group + name).c_str(), H5P_DEFAULT);
    BOOST_REQUIRE_MESSAGE(set >= 0, group + name);
    const hid_t space = H5Dget_space(set);
    hsize_t shape[2] = {0, 1};
    H5Sget_simple_extent_dims(space, shape, nullptr);
    if (std::string(name) == "index") {
      table.index.resize(shape[0]);
      H5Dread(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, table.index.data());
    } else {
      table.width = shape[1];
      table.prediction.resize(shape[0] * shape[1]);
      H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, table.prediction.data());
    }
    H5Sclose(space);
    H5Dclose(set);
  }
  H5Fclose(file);
  return table;
}

// Rows [index, index squared].
struct Numbering : ReferenceToy {
  levin::Tensor predict_step(const levin::Batch& batch) override {
    if (batch.padding()) return at::zeros({batch.size(), 2});
    const auto index = batch["index"].view({-1, 1});
    return narrow_after >= 0 && batch.indices().front() >= narrow_after ? index : at::cat({index, index * index}, 1);
  }
  int64_t narrow_after = -1;
};

struct TwoParts : ToyData {
  TwoParts() : ToyData({.batch_size = 2}) {}
  std::vector<levin::DataLoaderSpec> predict_dataloaders() override { return {{make(11), options}, {make(5), options}}; }
};

void check_table(const WrittenTable& table, int64_t samples) {
  BOOST_TEST(table.width == 2U);
  BOOST_REQUIRE(std::ssize(table.index) == samples);
  for (int64_t i = 0; i < samples; i++) {
    const auto at = static_cast<size_t>(i);
    BOOST_TEST(table.index[at] == i);
    BOOST_TEST(table.prediction[2 * at] == static_cast<double>(i));
    BOOST_TEST(table.prediction[2 * at + 1] == static_cast<double>(i * i));
  }
}

size_t predict(ToyData& data, const std::shared_ptr<levin::Callback>& writer, int64_t narrow_after = -1,
               const std::function<void(levin::Trainer&)>& prepare = {}) {
  levin::Trainer trainer(reference_config(1), runtime());
  trainer.add_callback(writer);
  if (prepare) prepare(trainer);
  const auto module = trainer.build<Numbering>();
  module->narrow_after = narrow_after;
  return trainer.predict(*module, data).size();
}

}  // namespace

BOOST_AUTO_TEST_CASE(each_sample_is_written_once_in_order) {
  for (const auto interval : {WriteInterval::batch, WriteInterval::epoch, WriteInterval::batch_and_epoch})
    for (const int64_t batch_size : {1, 2, 50}) {
      const FolderOfRanks folder;
      ToyData data({.batch_size = batch_size});
      const auto returned = predict(
          data, std::make_shared<PredictionWriter>(levin::PredictionWriterConfig{.write_interval = interval, .output_dir = folder.path}));
      BOOST_TEST((interval != WriteInterval::batch || returned == 0));
      if (interval != WriteInterval::batch && runtime().rank() == 0) BOOST_TEST(returned > 0U);
      MPI_Barrier(runtime().communicator());
      if (runtime().rank() != 0) continue;
      check_table(read_table(folder.path / "predictions.h5"), 11);
      BOOST_TEST(!std::filesystem::exists(folder.path / ".predictions.h5.partial"));
    }
}

BOOST_AUTO_TEST_CASE(each_loader_has_a_group) {
  for (const auto interval : {WriteInterval::batch, WriteInterval::epoch}) {
    const FolderOfRanks folder;
    TwoParts data;
    predict(data, std::make_shared<PredictionWriter>(levin::PredictionWriterConfig{.write_interval = interval, .output_dir = folder.path}));
    MPI_Barrier(runtime().communicator());
    if (runtime().rank() != 0) continue;
    check_table(read_table(folder.path / "predictions.h5", "dataloader_idx_0/"), 11);
    check_table(read_table(folder.path / "predictions.h5", "dataloader_idx_1/"), 5);
  }
}

BOOST_AUTO_TEST_CASE(a_run_that_is_stopped_leaves_no_file) {
  const FolderOfRanks folder;
  ToyData data({.batch_size = 1});
  predict(data, std::make_shared<PredictionWriter>(levin::PredictionWriterConfig{.output_dir = folder.path}), -1,
          [](levin::Trainer& trainer) {
            trainer.on(levin::Event::predict_start,
                       [](levin::Trainer& running) { running.session().request_stop(levin::StopReason::terminated); });
          });
  MPI_Barrier(runtime().communicator());
  if (runtime().rank() == 0) BOOST_TEST(std::filesystem::is_empty(folder.path));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_written_is_an_error) {
  ToyData data({.batch_size = 1});
  check_throws<levin::ConfigError>([&] { predict(data, std::make_shared<PredictionWriter>()); }, {"no folder"});
  const FolderOfRanks folder;
  check_throws<levin::Error>(
      [&] { predict(data, std::make_shared<PredictionWriter>(levin::PredictionWriterConfig{.output_dir = folder.path}), 3); },
      {"values a sample"});
}

// A program's own writer sees this rank's part of every batch, and all of them at the end.
BOOST_AUTO_TEST_CASE(a_program_writes_as_it_likes) {
  struct Counting : levin::BasePredictionWriter {
    Counting() : BasePredictionWriter(WriteInterval::batch_and_epoch) {}
    void write_on_batch_end(const levin::Prediction& prediction, const levin::Batch&, int64_t batch_idx) override {
      BOOST_TEST(batch_idx == batches++);
      samples += std::ssize(prediction.indices);
    }
    void write_on_epoch_end(const std::vector<levin::Prediction>& predictions) override { parts = std::ssize(predictions); }
    int64_t batches = 0, samples = 0, parts = 0;
  };
  ToyData data({.batch_size = 2});
  const auto counting = std::make_shared<Counting>();
  predict(data, counting);
  BOOST_TEST(counting->parts == counting->batches);
  levin::Trainer trainer({}, runtime());
  BOOST_TEST(over_ranks(trainer.session(), static_cast<double>(counting->samples)) == 11);
}

BOOST_AUTO_TEST_SUITE_END()
