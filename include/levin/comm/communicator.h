#pragma once
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/error.h"
#include "levin/core/tensor.h"

namespace levin {

class MpiRuntime;
class NodeGroup;

enum class ReduceOp { sum, mean, min, max };

/// MPI or a backend failed, or the ranks disagree about a collective (70).
class CommunicatorError : public Error {
 public:
  explicit CommunicatorError(const std::string& what, const std::string& remedy = {}, ExitCode code = ExitCode::internal)
      : Error(code, "comm", what, remedy) {}
};

/// Another rank ended the job: this rank's wait ends with the other's reason (69).
class CommunicatorAborted : public Error {
 public:
  CommunicatorAborted(int by_rank, const std::string& reason)
      : Error(ExitCode::rank_lost, "comm", fmt::format("rank {} ended the job: {}", by_rank, reason)), by_rank_(by_rank) {}
  int by_rank() const noexcept { return by_rank_; }

 private:
  int by_rank_;
};

/// A collective under way: its tensors are not to be touched before wait(), which returns when the result is there, and throws what the
/// operation threw.
class Work {
 public:
  Work() = default;  ///< already complete
  explicit Work(std::function<void()> finish) : finish_(std::move(finish)) {}
  void wait() {
    if (auto finish = std::exchange(finish_, nullptr)) finish();
  }

 private:
  std::function<void()> finish_;
};

/// Collectives on tensors. All ranks make the same calls in the same order with the same dtype and number of elements; each has the
/// next sequence number, and ranks that disagree get a CommunicatorError that names both sides. Tensors are contiguous, on the
/// communicator's device. Sums of fp16 and bf16 accumulate in fp32, all sums go in rank order (on several hosts: in each host first, then
/// in the hosts' order), so every rank has the same bits. The mean of integers is a UsageError.
class Communicator {
 public:
  virtual ~Communicator() = default;

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }
  /// What collectives may be about, the same on all ranks; and what the coming ones are about, from 1 on, or 0: nothing. Ranks whose
  /// collectives are about different things disagree, and the error names both.
  void name_subjects(std::vector<std::string> names) { subjects_ = std::move(names); }
  void set_subject(int number) noexcept { subject_ = number; }
  /// Number of collectives started so far; the watchdog reads it from another thread.
  virtual uint64_t sequence() const noexcept = 0;

  /// tensor <- op over ranks of tensor.
  virtual Work all_reduce(const Tensor& tensor, ReduceOp op = ReduceOp::sum) = 0;
  /// output [n] <- this rank's n of op over ranks of input [size * n].
  virtual Work reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op = ReduceOp::sum) = 0;
  /// output [size * n] <- every rank's input [n], in rank order.
  virtual Work all_gather(const Tensor& output, const Tensor& input) = 0;
  /// For memory of which a host's ranks share one copy, `whole` [size * n], and where each has written its own part: the parts of other
  /// hosts' ranks come in. All see all of it when all have waited; on several hosts each does when it has.
  virtual Work gather_shared(const Tensor& whole) = 0;
  /// tensor <- root's tensor.
  virtual Work broadcast(const Tensor& tensor, int root) = 0;
  virtual void barrier() = 0;

  /// Zero-filled memory [numel] that the fabric likes (a shared window on a CPU node): collectives on it move no copies. Collective.
  virtual Tensor allocate(int64_t numel, at::ScalarType dtype) = 0;
  /// Ranks of equal color, ordered by (key, rank). Collective.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;
  /// Ends all ranks' waits with CommunicatorAborted.
  virtual void abort(const std::string& reason) noexcept = 0;

  /// Where the tensors of its collectives live.
  virtual c10::Device device() const noexcept { return c10::Device(c10::kCPU); }
  /// The same ranks' communicator for tensors in host memory, with a sequence of its own; itself where the device's memory is the host's.
  virtual Communicator& host() noexcept { return *this; }
  /// The ranks whose tensors share memory with this one's, or null where the backend has none.
  virtual NodeGroup* node() noexcept { return nullptr; }

  /// The communicator for tensors in host memory: shared windows inside a node, made in `window_directory`, and MPI between nodes, on a
  /// thread of its own where MPI runs at MPI_THREAD_MULTIPLE. Collective over the runtime's ranks. Destroy it before MPI_Finalize.
  static std::unique_ptr<Communicator> create_cpu(const MpiRuntime& runtime, const std::string& window_directory = "/dev/shm");
  /// The same ranks once more, of which only those of one host and equal `part` share memory, as if parts were hosts; an abort of either
  /// ends the waits of both. Null where every host has one part. `whole` comes from create_cpu. Collective.
  static std::unique_ptr<Communicator> create_in_parts(const MpiRuntime& runtime, Communicator& whole, int part);

 protected:
  int rank_ = 0, size_ = 1;
  std::vector<std::string> subjects_;
  int subject_ = 0;
};

}  // namespace levin
