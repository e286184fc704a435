#include "predictions.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <hdf5.h>

#include <algorithm>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/hdf5_lock.h"

namespace levin::cli {
namespace {

// Closes an HDF5 object by the function of its kind.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t), const std::filesystem::path& file) : id_(id), close_(close) {
    if (id < 0)
      throw IoError(fmt::format("HDF5 cannot write {}", file.string()), "check whether the file system is full or read-only", "cli");
  }
  ~Handle() { close_(id_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

void write(hid_t file, const std::string& name, const Tensor& tensor, hid_t type, const std::filesystem::path& path) {
  std::vector<hsize_t> shape(tensor.sizes().begin(), tensor.sizes().end());
  const Handle space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose, path);
  const Handle with_groups(H5Pcreate(H5P_LINK_CREATE), H5Pclose, path);
  H5Pset_create_intermediate_group(with_groups, 1);
  const Handle set(H5Dcreate2(file, name.c_str(), type, space, with_groups, H5P_DEFAULT, H5P_DEFAULT), H5Dclose, path);
  if (H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, tensor.data_ptr()) < 0)
    throw IoError(fmt::format("HDF5 cannot write {}", path.string()), "check whether the file system is full", "cli");
}

// All-gathers rows [n_r, ...] of every rank into one tensor, in rank order.
Tensor gather(const Tensor& mine, const std::vector<int64_t>& counts, Communicator& communicator) {
  const int64_t most = *std::max_element(counts.begin(), counts.end());
  std::vector<int64_t> shape = mine.sizes().vec();
  shape[0] = most;
  const Tensor padded = at::zeros(shape, mine.options());
  padded.narrow(0, 0, mine.size(0)).copy_(mine);
  shape[0] = most * communicator.size();
  const Tensor all = at::empty(shape, mine.options());
  communicator.all_gather(all, padded).wait();
  std::vector<Tensor> parts;
  parts.reserve(static_cast<size_t>(communicator.size()));
  for (int rank = 0; rank < communicator.size(); rank++) parts.push_back(all.narrow(0, rank * most, counts[static_cast<size_t>(rank)]));
  return at::cat(parts);
}

// The predictions of all ranks for one loader, in rank order.
struct Table {
  Tensor index, rows;
};

Table table_of(int64_t dataloader_idx, const std::vector<Prediction>& predictions, const Mesh& mesh) {
  auto& communicator = mesh.data_communicator().cpu();
  std::vector<Tensor> rows;
  std::vector<int64_t> indices;
  for (const auto& prediction : predictions) {
    if (prediction.dataloader_idx != dataloader_idx) continue;
    rows.push_back(prediction.rows.to(at::kCPU, at::kDouble));
    indices.insert(indices.end(), prediction.indices.begin(), prediction.indices.end());
  }
  // A rank without samples gets the width of a row from the others.
  const auto counts = all_gather_value(communicator, static_cast<int64_t>(indices.size()));
  const int64_t width = all_max(communicator, rows.empty() ? 0 : rows.front().numel() / std::max<int64_t>(1, rows.front().size(0)));
  const Tensor mine = rows.empty() ? at::zeros({0, width}, at::kDouble) : at::cat(rows).view({static_cast<int64_t>(indices.size()), -1});
  return {gather(at::tensor(indices, at::kLong), counts, communicator), gather(mine, counts, communicator)};
}

}  // namespace

void write_predictions(const std::filesystem::path& file, const std::vector<Prediction>& predictions, const Mesh& mesh) {
  auto& communicator = mesh.data_communicator().cpu();
  int64_t most = 0;
  for (const auto& prediction : predictions) most = std::max(most, prediction.dataloader_idx);
  most = all_max(communicator, most);
  std::vector<Table> tables;
  for (int64_t i = 0; i <= most; i++) tables.push_back(table_of(i, predictions, mesh));
  if (mesh.rank() != 0) return;
  const Hdf5Lock lock;
  const Handle out(H5Fcreate(file.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose, file);
  for (size_t i = 0; i < tables.size(); i++) {
    const std::string group = tables.size() > 1 ? fmt::format("dataloader_idx_{}/", i) : "";
    const Tensor order = at::argsort(tables[i].index);
    write(out, group + "index", tables[i].index.index_select(0, order).contiguous(), H5T_NATIVE_INT64, file);
    write(out, group + "prediction", tables[i].rows.index_select(0, order).contiguous(), H5T_NATIVE_DOUBLE, file);
  }
}

}  // namespace levin::cli
