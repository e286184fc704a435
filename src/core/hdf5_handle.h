#pragma once
#include <hdf5.h>

#include <utility>

#include "levin/core/hdf5_lock.h"

namespace levin::detail {

/// HDF5's lock, with HDF5 silent: its own messages on stderr are for programmers.
class Hdf5Section {
 public:
  Hdf5Section() {
    H5Eget_auto2(H5E_DEFAULT, &print_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~Hdf5Section() { H5Eset_auto2(H5E_DEFAULT, print_, data_); }
  Hdf5Section(const Hdf5Section&) = delete;
  Hdf5Section& operator=(const Hdf5Section&) = delete;

 private:
  Hdf5Lock lock_;
  H5E_auto2_t print_ = nullptr;
  void* data_ = nullptr;
};

/// Anything of HDF5's that is closed, under the lock. Not good when the call that made it failed.
class Hdf5Handle {
 public:
  Hdf5Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Hdf5Handle() { close(); }
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Handle& operator=(Hdf5Handle&&) = delete;

  bool good() const noexcept { return id_ >= 0; }
  operator hid_t() const noexcept { return id_; }
  /// False when HDF5 could not write what it had kept back.
  bool close() {
    if (id_ < 0) return true;
    const Hdf5Section section;
    return close_(std::exchange(id_, -1)) >= 0;
  }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

}  // namespace levin::detail
