#pragma once
#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "levin/comm/communicator_error.h"
#include "levin/comm/work.h"
#include "levin/core/tensor.h"

namespace levin {

class MpiRuntime;
class NodeGroup;

enum class ReduceOp : uint8_t { sum, mean, min, max };

/// One message of Communicator::transfer.
struct Transfer {
  enum class Direction : uint8_t { send, recv };
  Direction direction = Direction::send;
  Tensor tensor;  ///< contiguous, on the communicator's device
  int peer = 0;   ///< the other rank
};

/// Collectives and point-to-point messages on contiguous tensors on the communicator's device. Shapes are given in elements.
///
/// Collective: all ranks make the same calls in the same order with the same dtype, count and label. Each call has the next sequence
/// number, and ranks that disagree get a CommunicatorError that names both sides before data move. A label ("unit \"encoder.0\"") names
/// the purpose of the call in that error; it must be the same on all ranks.
///
/// Sums of fp16 and bf16 accumulate in fp32. Every rank gets the same bits. Sums run in rank order inside a host, then in host order, so a
/// run is reproducible bit for bit; an all_reduce on more than Communicator::direct_hosts hosts sums in MPI's order. The mean of integers
/// is a UsageError. After any rank has called abort(), every wait throws CommunicatorAborted.
class Communicator {
 public:
  virtual ~Communicator() = default;

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }
  /// Number of collectives started so far; any thread may ask.
  virtual uint64_t sequence() const noexcept = 0;
  /// A hash of all collectives called so far: kind, reduction, dtype, count, label and their order. The ranks' hashes differ where their
  /// calls did. 0 of a backend that compares every call itself, as the CPU's.
  virtual uint64_t call_hash() const noexcept { return 0; }
  /// The last calls that call_hash covers, in words and in order, one a line, each with its sequence number: for the error of ranks whose
  /// hashes differ.
  virtual std::string last_calls() const { return {}; }

  /// tensor [n] <- op over ranks of tensor [n].
  virtual Work all_reduce(const Tensor& tensor, ReduceOp op = ReduceOp::sum, std::string_view label = {}) = 0;
  /// output [n] <- this rank's n of op over ranks of input [size * n]. Output may be this rank's part of input.
  virtual Work reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op = ReduceOp::sum, std::string_view label = {}) = 0;
  /// output [size * n] <- every rank's input [n], in rank order. Input may be this rank's part of output.
  virtual Work all_gather(const Tensor& output, const Tensor& input, std::string_view label = {}) = 0;
  /// all_gather in node-shared memory: each rank has written its part [n] of `whole` [size * n], and the call fills in the parts of other
  /// nodes. Readable on one node when all ranks have waited, on several nodes when this rank has waited.
  virtual Work gather_shared(const Tensor& whole, std::string_view label = {}) = 0;
  /// tensor [n] <- root's tensor [n].
  virtual Work broadcast(const Tensor& tensor, int root, std::string_view label = {}) = 0;
  /// Part r [n] of output [size * n] <- this rank's part of rank r's input [size * n]. They must not overlap.
  Work all_to_all(const Tensor& output, const Tensor& input, std::string_view label = {}) {
    return all_to_all(output, {}, input, {}, label);
  }
  /// The same with parts of different sizes, one after the other: this rank sends input_counts[r] elements to rank r and receives
  /// output_counts[r] from it. Empty counts on both sides: equal parts. Ranks whose counts do not match get a CommunicatorError.
  virtual Work all_to_all(const Tensor& output, std::span<const int64_t> output_counts, const Tensor& input,
                          std::span<const int64_t> input_counts, std::string_view label = {}) = 0;
  /// Returns when all ranks have called it. Blocks the host; does not wait for work queued on a device.
  virtual void barrier(std::string_view label = {}) = 0;

  /// Sends and receives messages. Not collective: only this rank and its peers take part. The n-th send from rank a to rank b matches b's
  /// n-th recv from a; if dtype, count or label differ, both get a CommunicatorError before data move.
  ///
  /// Order: a rank runs its calls in sequence, collectives included. A message completes on both sides together. The messages of one call
  /// progress together. Put messages that depend on each other, such as a send and a recv that cross, into one call:
  ///   rank 0: transfer({{send, a, 1}, {recv, b, 1}});   rank 1: transfer({{send, c, 0}, {recv, d, 0}});
  /// Two ranks of a host that send to each other in calls without the recv get a CommunicatorError instead of a deadlock.
  virtual Work transfer(std::span<const Transfer> transfers, std::string_view label = {}) = 0;
  Work send(const Tensor& tensor, int to, std::string_view label = {}) {
    return transfer_one({Transfer::Direction::send, tensor, to}, label);
  }
  Work recv(const Tensor& tensor, int from, std::string_view label = {}) {
    return transfer_one({Transfer::Direction::recv, tensor, from}, label);
  }

  /// Zero-filled tensor [numel] on device() in memory that collectives access without copies: a shared window on CPUs. Collective, with the
  /// same arguments on all ranks. The memory lives as long as the tensor. IoError on all ranks if one lacks the memory.
  virtual Tensor allocate(int64_t numel, at::ScalarType dtype) = 0;
  /// A communicator of the ranks with equal color, ordered by (key, rank), as MPI_Comm_split. Collective over this communicator, which it
  /// may outlive. It has its own sequence numbers.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;
  /// Ends all ranks' waits with CommunicatorAborted. Not collective.
  virtual void abort(const std::string& reason) noexcept = 0;

  /// The device of the tensors of its calls.
  virtual c10::Device device() const noexcept { return c10::Device(c10::kCPU); }
  /// The communicator of the same ranks for tensors in CPU memory, with its own sequence numbers; *this if the device is the CPU.
  virtual Communicator& cpu() noexcept { return *this; }
  /// The ranks whose tensors share memory with this rank's; null if the backend has no shared memory.
  virtual NodeGroup* node() noexcept { return nullptr; }

  /// Up to this many hosts exchange sums directly, in the order of the hosts; more use MPI's reductions.
  static constexpr int direct_hosts = 4;
  struct CpuOptions {
    std::string window_directory = "/dev/shm";  ///< for shared windows inside a node
    int direct_hosts = Communicator::direct_hosts;
  };
  /// Creates the communicator for tensors in CPU memory: shared windows inside a node, MPI between nodes, on a communication thread if MPI
  /// provides MPI_THREAD_MULTIPLE. Collective over the runtime's ranks. Destroy it before MPI_Finalize.
  static std::unique_ptr<Communicator> create_cpu(const MpiRuntime& runtime, const CpuOptions& options);
  static std::unique_ptr<Communicator> create_cpu(const MpiRuntime& runtime, const std::string& window_directory = "/dev/shm") {
    return create_cpu(runtime, CpuOptions{.window_directory = window_directory});
  }
  /// A second communicator of the same ranks that treats each part of a host as a host: only ranks with equal `part` share memory. An abort
  /// of either communicator ends the waits of both. Null if every host has one part. `whole` comes from create_cpu. Collective.
  static std::unique_ptr<Communicator> create_in_parts(const MpiRuntime& runtime, Communicator& whole, int part,
                                                       int direct_hosts = Communicator::direct_hosts);

 protected:
  int rank_ = 0, size_ = 1;

 private:
  Work transfer_one(const Transfer& transfer, std::string_view label) { return this->transfer({&transfer, 1}, label); }
};

}  // namespace levin
