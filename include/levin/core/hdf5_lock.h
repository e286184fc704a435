#pragma once

namespace levin {

/// HDF5 must not be entered by two threads at once, so whoever calls it holds this lock of the process: for a short call that concerns
/// metadata, never for bulk data. Threads get it in the order in which they came, so a loop of many calls keeps nobody waiting for longer
/// than one of them. A thread that holds it may take it again.
class Hdf5Lock {
 public:
  Hdf5Lock();
  ~Hdf5Lock();
  Hdf5Lock(const Hdf5Lock&) = delete;
  Hdf5Lock& operator=(const Hdf5Lock&) = delete;
};

}  // namespace levin
