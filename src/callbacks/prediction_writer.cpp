#include "levin/callbacks/prediction_writer.h"

#include <ATen/ops/argsort.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <system_error>
#include <utility>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/hdf5_lock.h"
#include "levin/trainer/trainer.h"

namespace levin {

void BasePredictionWriter::on_predict_start() {
  predictions_.clear();
  if (interval_ == WriteInterval::batch) trainer().drop_predictions();
}

void BasePredictionWriter::on_predict_batch_end(const Tensor& prediction, const Batch& batch, int64_t batch_idx) {
  const Prediction part{batch.indices(), batch.padding() ? Tensor() : prediction, batch.dataloader_idx()};
  if (interval_ != WriteInterval::batch) predictions_.push_back(part);
  if (interval_ != WriteInterval::epoch) write_on_batch_end(part, batch, batch_idx);
}

void BasePredictionWriter::on_predict_epoch_end() {
  if (interval_ != WriteInterval::batch) write_on_epoch_end(std::exchange(predictions_, {}));
}

namespace {

void check_written(bool written, const std::filesystem::path& file) {
  if (!written)
    throw IoError(fmt::format("HDF5 cannot write {}", file.string()), "check whether the file system is full or read-only", "callbacks");
}

// Closes an HDF5 object by the function of its kind.
class PredictionHandle {
 public:
  PredictionHandle(hid_t id, herr_t (*close)(hid_t), const std::filesystem::path& file) : id_(id), close_(close) {
    check_written(id >= 0, file);
  }
  ~PredictionHandle() { close_(id_); }
  PredictionHandle(const PredictionHandle&) = delete;
  PredictionHandle& operator=(const PredictionHandle&) = delete;
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

}  // namespace

/// The file of predictions on rank 0: rows are appended to a table for each loader.
class PredictionWriter::File {
 public:
  explicit File(const std::filesystem::path& folder) : path_(folder / "predictions.h5"), partial_(folder / ".predictions.h5.partial") {
    std::filesystem::create_directories(folder);
    const Hdf5Lock lock;
    file_ = H5Fcreate(partial_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    check(file_ >= 0);
  }
  ~File() {
    if (file_ < 0) return;
    {
      const Hdf5Lock lock;
      H5Fclose(file_);
    }
    std::error_code unseen;
    std::filesystem::remove(partial_, unseen);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void append(int64_t dataloader_idx, const std::vector<int64_t>& indices, const std::vector<double>& rows) {
    const Hdf5Lock lock;
    const auto count = std::ssize(indices);
    const int64_t width = std::ssize(rows) / count;
    auto [found, is_new] = tables_.try_emplace(dataloader_idx, Table{.width = width});
    auto& table = found->second;
    if (is_new) create(dataloader_idx, width);
    if (table.width != width)
      throw UsageError("callbacks", fmt::format("predictions of {} values a sample, and of {} before", width, table.width),
                       "return rows of the same size from predict_step");
    write(name_of(dataloader_idx, "index"), table.rows, count, 1, H5T_NATIVE_INT64, indices.data());
    write(name_of(dataloader_idx, "prediction"), table.rows, count, width, H5T_NATIVE_DOUBLE, rows.data());
    check(H5Fflush(file_, H5F_SCOPE_LOCAL) >= 0);
    table.rows += count;
    table.sorted = table.sorted && indices.front() > table.last && std::is_sorted(indices.begin(), indices.end());
    table.last = indices.back();
  }

  // Returns when the file has its name.
  void finish() {
    const Hdf5Lock lock;
    if (tables_.empty()) create(0, 0), tables_.try_emplace(0, Table{});
    for (const auto& [dataloader_idx, table] : tables_)
      if (!table.sorted) sort(dataloader_idx, table);
    if (tables_.size() == 1) {  // no group for a single loader
      const auto group = name_of(tables_.begin()->first, "");
      for (const char* name : {"index", "prediction"})
        check(H5Lmove(file_, (group + name).c_str(), file_, name, H5P_DEFAULT, H5P_DEFAULT) >= 0);
      check(H5Ldelete(file_, group.substr(0, group.size() - 1).c_str(), H5P_DEFAULT) >= 0);
    }
    check(H5Fclose(std::exchange(file_, -1)) >= 0);
    std::filesystem::rename(partial_, path_);
  }

 private:
  struct Table {
    int64_t width = 0, rows = 0, last = -1;
    bool sorted = true;
  };
  using Shape = std::array<hsize_t, 2>;

  static std::string name_of(int64_t dataloader_idx, const char* name) { return fmt::format("dataloader_idx_{}/{}", dataloader_idx, name); }
  void check(bool written) const { check_written(written, partial_); }
  PredictionHandle handle(hid_t id, herr_t (*close)(hid_t)) const { return {id, close, partial_}; }

  void create(int64_t dataloader_idx, int64_t width) {
    const auto with_groups = handle(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
    H5Pset_create_intermediate_group(with_groups, 1);
    const auto add = [&](const char* name, int dims, int64_t columns, hid_t type) {
      const Shape none{0, static_cast<hsize_t>(columns)}, most{H5S_UNLIMITED, columns > 0 ? static_cast<hsize_t>(columns) : H5S_UNLIMITED};
      const auto space = handle(H5Screate_simple(dims, none.data(), most.data()), H5Sclose);
      const auto chunked = handle(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
      constexpr int64_t values_of_chunk = 1 << 13;  // 64 KiB
      const Shape chunk{static_cast<hsize_t>(std::max<int64_t>(1, values_of_chunk / std::max<int64_t>(1, columns))),
                        static_cast<hsize_t>(std::max<int64_t>(1, columns))};
      H5Pset_chunk(chunked, dims, chunk.data());
      handle(H5Dcreate2(file_, name_of(dataloader_idx, name).c_str(), type, space, with_groups, chunked, H5P_DEFAULT), H5Dclose);
    };
    add("index", 1, 1, H5T_NATIVE_INT64);
    add("prediction", 2, width, H5T_NATIVE_DOUBLE);
  }

  void write(const std::string& name, int64_t begin, int64_t count, int64_t columns, hid_t type, const void* values) {
    const auto set = handle(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose);
    const Shape size{static_cast<hsize_t>(begin + count), static_cast<hsize_t>(columns)}, start{static_cast<hsize_t>(begin), 0},
        extent{static_cast<hsize_t>(count), static_cast<hsize_t>(columns)};
    check(H5Dset_extent(set, size.data()) >= 0);
    if (columns == 0) return;
    const auto in_file = handle(H5Dget_space(set), H5Sclose);
    const auto in_memory = handle(H5Screate_simple(H5Sget_simple_extent_ndims(in_file), extent.data(), nullptr), H5Sclose);
    check(H5Sselect_hyperslab(in_file, H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr) >= 0);
    check(H5Dwrite(set, type, in_memory, in_file, H5P_DEFAULT, values) >= 0);
  }

  void sort(int64_t dataloader_idx, const Table& table) {
    const auto sort_set = [&](const char* name, const Tensor& order, const Tensor& values, hid_t type) {
      const auto set = handle(H5Dopen2(file_, name_of(dataloader_idx, name).c_str(), H5P_DEFAULT), H5Dclose);
      check(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.mutable_data_ptr()) >= 0);
      Tensor by = order.defined() ? order : at::argsort(values);
      check(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.index_select(0, by).contiguous().const_data_ptr()) >= 0);
      return by;
    };
    const Tensor order = sort_set("index", {}, at::empty({table.rows}, at::kLong), H5T_NATIVE_INT64);
    if (table.width > 0) sort_set("prediction", order, at::empty({table.rows, table.width}, at::kDouble), H5T_NATIVE_DOUBLE);
  }

  std::filesystem::path path_, partial_;
  hid_t file_ = -1;
  std::map<int64_t, Table> tables_;  // by dataloader_idx
};

PredictionWriter::PredictionWriter(const PredictionWriterConfig& config) : BasePredictionWriter(config.write_interval), config_(config) {}
PredictionWriter::~PredictionWriter() = default;

void PredictionWriter::on_predict_start() {
  BasePredictionWriter::on_predict_start();
  file_.reset();
  writes_ = trainer().config().fast_dev_run.batches == 0;
  if (!writes_) return;
  const auto& folder = config_.output_dir.empty() ? trainer().default_root_dir() : config_.output_dir;
  if (folder.empty()) throw ConfigError("a prediction writer has no folder", "give an output_dir", "callbacks");
  auto& session = trainer().session();
  on_all_ranks(session.communicator(), "callbacks", [&] {
    if (session.rank() == 0) file_ = std::make_unique<File>(folder);
  });
}

// The rows of all ranks: their samples follow each other.
void PredictionWriter::append(const Prediction& prediction) {
  if (!writes_) return;
  auto& session = trainer().session();
  auto& communicator = session.mesh().data_communicator().cpu();
  std::vector<double> rows;
  on_all_ranks(communicator, "callbacks", [&] {
    if (prediction.indices.empty()) return;
    const auto samples = std::ssize(prediction.indices);
    if (!prediction.rows.defined() || prediction.rows.dim() == 0 || prediction.rows.size(0) != samples)
      throw UsageError("callbacks",
                       fmt::format("predict_step returned {} rows for {} samples",
                                   prediction.rows.defined() && prediction.rows.dim() > 0 ? prediction.rows.size(0) : 0, samples),
                       "return a row for every sample");
    const Tensor values = prediction.rows.detach().to(at::kCPU, at::kDouble).contiguous();
    rows.assign(values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel());
  });
  const int64_t width = prediction.indices.empty() ? -1 : std::ssize(rows) / std::ssize(prediction.indices);
  const int64_t widest = all_max(communicator, width);
  const auto indices = all_gather_values(communicator, prediction.indices);
  rows = all_gather_values(communicator, rows);
  on_all_ranks(communicator, "callbacks", [&] {
    if (width >= 0 && width != widest)
      throw UsageError("callbacks", fmt::format("predictions of {} values a sample, and of {} on another rank", width, widest),
                       "return rows of the same size from predict_step");
    if (file_ && !indices.empty()) file_->append(prediction.dataloader_idx, indices, rows);
  });
}

void PredictionWriter::write_on_batch_end(const Prediction& prediction, const Batch&, int64_t) { append(prediction); }

void PredictionWriter::write_on_epoch_end(const std::vector<Prediction>& predictions) {
  if (write_interval() != WriteInterval::epoch) return;  // they are written
  for (const auto& prediction : predictions) append(prediction);
}

void PredictionWriter::on_predict_epoch_end() {
  BasePredictionWriter::on_predict_epoch_end();
  if (!writes_) return;
  on_all_ranks(trainer().session().communicator(), "callbacks", [&] {
    if (file_) file_->finish();
  });
  file_.reset();
}

// Of a run that was stopped.
void PredictionWriter::teardown(Stage) { file_.reset(); }

}  // namespace levin
