#pragma once

namespace levin {

/// The process-wide lock around every HDF5 call, which must not run in two threads at once. Hold it for short calls that concern
/// metadata, never for bulk data. It is fair (first come, first served), so a loop of many calls delays no thread for longer
/// than one of them. A thread that holds it may take it again.
class Hdf5Lock {
 public:
  Hdf5Lock();
  ~Hdf5Lock();
  Hdf5Lock(const Hdf5Lock&) = delete;
  Hdf5Lock& operator=(const Hdf5Lock&) = delete;
};

}  // namespace levin
