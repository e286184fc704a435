#pragma once
#include <c10/core/Device.h>

#include <filesystem>
#include <memory>
#include <string>

#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/comm/topology.h"
#include "levin/device/accelerator.h"
#include "report.h"

namespace levin::doctor {

struct Options {
  std::filesystem::path directory = ".";
  double seconds = 20;
  std::string accelerator = "auto";
  bool speed = true;
};

/// What the checks work with. The checks are collective; what one finds, it reports, and the next one runs.
struct Doctor {
  const Options& options;
  const MpiRuntime& mpi;
  const Topology& topology;
  Communicator& communicator;  ///< for tensors on `device`
  const Accelerator& accelerator;
  c10::Device device;
  Report& report;

  bool first_of_host() const noexcept { return topology.self().local_rank == 0; }
};

/// Program and libraries, launcher and batch job, ranks and cores, memory and limits.
void check_program(Doctor& doctor);
void check_placement(Doctor& doctor);
void check_memory(Doctor& doctor);
/// The directory: shared by all hosts, writable; with `speed`, how fast a file of each host is written and read.
void check_directory(Doctor& doctor, double seconds);
/// Latency and bandwidth of MPI messages between neighbours within hosts and between hosts.
void measure_messages(Doctor& doctor, double seconds);
/// Bandwidth of an all-reduce on the device: NCCL on GPUs.
void measure_all_reduce(Doctor& doctor, double seconds);
/// Matrix products, on all ranks at once.
void measure_products(Doctor& doctor, double seconds);

/// For a process without a launcher, before MPI starts: which launchers start two ranks of this program that see each other. Returns a line
/// for each that is in PATH, and whether one works. Up to 8 s each.
struct LauncherTrial {
  std::string text;
  bool tried = false, works = false;
};
LauncherTrial try_launchers();

}  // namespace levin::doctor
