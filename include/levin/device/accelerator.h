#pragma once
#include <c10/core/Device.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "levin/core/log.h"

namespace levin {

class Communicator;
class MpiRuntime;

/// How the ranks of a job talk to each other.
struct CommunicatorOptions {
  std::string window_directory = "/dev/shm";  ///< for files through which ranks of one node share memory
  /// A collective between devices that takes longer, once this rank's device has reached it, ends the job.
  std::chrono::milliseconds timeout = std::chrono::seconds(300);
};

/// A kind of device that a job can train on, chosen by name (Lightning's `accelerator`).
class Accelerator {
 public:
  virtual ~Accelerator() = default;
  virtual std::string name() const = 0;
  /// Devices that this process can see.
  virtual int device_count() const = 0;
  /// The device of a rank: with one visible device that one, else the local rank's; ConfigError when there are too few.
  virtual c10::Device device(int local_rank, int local_size) const = 0;
  /// Collectives for tensors on this rank's `device`; its cpu() serves tensors in host memory. Collective over the
  /// runtime's communicator.
  virtual std::unique_ptr<Communicator> communicator(const MpiRuntime& runtime, const CommunicatorOptions& options,
                                                     c10::Device device) const = 0;
  /// Alignment in bytes of each parameter in a flat buffer.
  virtual int64_t alignment_bytes() const = 0;
  /// Seeds the device's default random generator with mix_seed(seed), so that all 64 bits count.
  virtual void seed(uint64_t seed) const = 0;
  /// Waits for the work queued on the device that this thread uses.
  virtual void synchronize() const = 0;
};

/// The accelerators of a program, by name: the CPU, what the program adds, and those in plug-ins (see plugin.h).
class AcceleratorRegistry {
 public:
  using Factory = std::function<std::unique_ptr<Accelerator>()>;

  AcceleratorRegistry();
  /// UsageError when the name is taken.
  void add(const std::string& name, Factory factory);
  std::vector<std::string> names() const;
  /// "auto" takes the first accelerator with a device: the program's own, CUDA where a driver and the plug-in are, the CPU; a GPU that it
  /// cannot use is a warning in `log`. "gpu" is cuda. A name that the program did not add, or a path, is a plug-in's, which is loaded: call
  /// this before LibTorch is used, or again afterwards. ConfigError for an unknown accelerator.
  std::unique_ptr<Accelerator> create(const std::string& name, const Log& log = {}) const;

 private:
  std::unique_ptr<Accelerator> create_best(const Log& log) const;

  std::map<std::string, Factory> factories_;
};

/// Ranks computing on the host's cores.
std::unique_ptr<Accelerator> make_cpu_accelerator();

}  // namespace levin
