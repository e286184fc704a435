#include "nccl_communicator.h"

#include <ATen/ops/empty.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>

#include <exception>
#include <thread>

#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/comm/topology.h"
#include "levin/core/profile_range.h"
#include "nccl_arguments.h"
#include "nccl_start.h"
#include "versions.h"

namespace levin {
namespace {

using namespace std::chrono_literals;
using detail::Call, detail::Kind;
constexpr auto patience_at_the_end = 10s;  // after the timeout of an operation

// Tensors that an operation on the stream needs until its end.
struct Flight {
  Flight(std::vector<Tensor> used, c10::cuda::CUDAStream on, std::shared_ptr<NcclOperation> what)
      : tensors(std::move(used)), stream(on), operation(std::move(what)) {}
  // Without a wait the allocator must keep the memory until the stream has done the operation.
  ~Flight() {
    if (landed) return;
    try {
      for (const auto& tensor : tensors) c10::cuda::CUDACachingAllocator::recordStream(tensor.storage().data_ptr(), stream);
    } catch (const std::exception&) {  // the device is lost, and the memory with it
    }
  }
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;

  std::vector<Tensor> tensors;
  c10::cuda::CUDAStream stream;
  std::shared_ptr<NcclOperation> operation;
  bool landed = false;
};

// Starts a group, which collects calls; ends it on every way out.
class NcclGroup {
 public:
  NcclGroup() { add(ncclGroupStart()); }
  ~NcclGroup() {
    if (!ended_) ncclGroupEnd();
  }
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;
  void add(ncclResult_t result) {
    if (result_ == ncclSuccess) result_ = result;
  }
  ncclResult_t end() {
    ended_ = true;
    add(ncclGroupEnd());
    return result_;
  }

 private:
  ncclResult_t result_ = ncclSuccess;
  bool ended_ = false;
};

// Throws the error that ended the job. Owns the host's communicator, which a Work may outlive.
Poll poll_of(const std::shared_ptr<Communicator>& host) {
  return [host] {
    const auto* node = host->node();
    if (!node->aborted()) return;
    const auto notice = node->abort_notice();
    throw CommunicatorAborted(notice.by_rank, notice.reason);
  };
}

Tensor plain_zeros(int64_t numel, at::ScalarType dtype, c10::Device device) {
  Tensor tensor = at::empty({numel}, at::TensorOptions(dtype).device(device));
  if (numel > 0)
    check_cuda(cudaMemsetAsync(tensor.mutable_data_ptr(), 0, tensor.nbytes(), c10::cuda::getCurrentCUDAStream(device.index())),
               "cudaMemsetAsync");
  return tensor;
}

}  // namespace

std::unique_ptr<NcclCommunicator> NcclCommunicator::create(const MpiRuntime& runtime, const CommunicatorOptions& options,
                                                           c10::Device device) {
  const auto topology = Topology::discover(runtime);
  std::shared_ptr<Communicator> host = Communicator::create_cpu(runtime, options.window_directory);
  take_device(runtime, *host->node(), device);
  auto names = levin::rank_names(topology);
  check_versions(runtime, topology, names);
  const auto ids = share_ids(runtime);
  Parts parts{host, nullptr, MPI_COMM_NULL, options.timeout, "world", std::move(names), levin::ranks_and_hosts(topology)};
  if (runtime.thread_level() >= MPI_THREAD_MULTIPLE) check_mpi(MPI_Comm_dup(runtime.communicator(), &parts.roll_call), "MPI_Comm_dup");
  try {
    const auto& self = parts.rank_names[static_cast<size_t>(runtime.rank())];
    parts.link =
        NcclLink::connect(ids, runtime.rank(), runtime.size(),
                          {device, poll_of(host), options.timeout, fmt::format("{}; {} waited", parts.ranks_and_hosts, self), parts.name});
    return std::unique_ptr<NcclCommunicator>(new NcclCommunicator(std::move(parts), device));
  } catch (const CommunicatorAborted&) {
    throw;
  } catch (const std::exception& error) {
    host->abort(error.what());  // the others wait for this rank
    throw;
  }
}

NcclCommunicator::NcclCommunicator(Parts parts, c10::Device device)
    : parts_(std::move(parts)),
      host_(parts_.host),
      link_(parts_.link),
      device_(device),
      stream_(parts_.stream ? *parts_.stream : c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())),
      exceptions_(std::uncaught_exceptions()),
      memory_(std::make_shared<NcclMemory>(link_, stream_)),
      watch_(std::make_unique<NcclWatch>(link_, host_, memory_, std::make_unique<RollCall>(parts_.roll_call),
                                         NcclWatch::Options{device, parts_.timeout, parts_.name, parts_.rank_names})) {
  rank_ = host_->rank();
  size_ = host_->size();
}

NcclCommunicator::~NcclCommunicator() {
  const bool unwinding = std::uncaught_exceptions() > exceptions_;
  if (unwinding) host_->abort("an exception left the scope of its communicator");
  if (!unwinding && !watch_->wait_until_idle(parts_.timeout + patience_at_the_end))
    host_->abort("a communicator ended before its collectives did");
  if (host_->node()->aborted()) link_->abort();  // the others may not end theirs
  watch_.reset();
  memory_->deregister_all();
  link_->close();
}

Call NcclCommunicator::next(Call call, bool compared) {
  call.header.sequence = ++sequence_;
  if (compared) log_.add(call);
  return call;
}

Work NcclCommunicator::start(const char* name, const Call& call, std::vector<Tensor> tensors,
                             const std::function<ncclResult_t(ncclComm_t, cudaStream_t)>& queue) {
  const auto poll = poll_of(host_);
  poll();
  const ProfileRange range(RangeKind::collective, name, call.label.data());
  const c10::cuda::CUDAGuard guard(device_);
  const auto operation = std::make_shared<NcclOperation>(call);
  c10::cuda::CUDAEvent called;  // what the caller has queued before
  called.record(c10::cuda::getCurrentCUDAStream(device_.index()));
  called.block(stream_);
  operation->reached.record(stream_);
  watch_->add(operation);
  try {
    link_->run(name, [&](ncclComm_t link) { return queue(link, stream_.stream()); });
  } catch (const CommunicatorAborted&) {
    throw;
  } catch (const std::exception& error) {
    host_->abort(error.what());  // the others wait for this rank
    throw;
  }
  const auto flight = std::make_shared<Flight>(std::move(tensors), stream_, operation);
  operation->done.record(stream_);
  operation->queued = true;
  return Work(
      [flight, poll] {
        poll();
        flight->operation->done.block(c10::cuda::getCurrentCUDAStream(flight->stream.device_index()));
        flight->landed = true;
      },
      [flight, poll] {
        while (!flight->operation->done.query()) {
          poll();
          std::this_thread::yield();
        }
        poll();  // an abort ends NCCL's kernels, and leaves no result
      });
}

Work NcclCommunicator::all_reduce(const Tensor& tensor, ReduceOp op, std::string_view label) {
  check_on_device(tensor, device_);
  const auto type = nccl_type(tensor.scalar_type());
  const auto operation = nccl_operation(op, tensor.scalar_type());
  return start("ncclAllReduce", next(Call(Kind::all_reduce, label, tensor.scalar_type(), tensor.numel(), op)), {tensor},
               [=](ncclComm_t link, cudaStream_t stream) {
                 return ncclAllReduce(tensor.const_data_ptr(), tensor.mutable_data_ptr(), static_cast<size_t>(tensor.numel()), type,
                                      operation, link, stream);
               });
}

Work NcclCommunicator::reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op, std::string_view label) {
  check_parts_on_device(input, output, size_, device_);
  const auto type = nccl_type(input.scalar_type());
  const auto operation = nccl_operation(op, input.scalar_type());
  return start("ncclReduceScatter", next(Call(Kind::reduce_scatter, label, input.scalar_type(), output.numel(), op)), {output, input},
               [=](ncclComm_t link, cudaStream_t stream) {
                 return ncclReduceScatter(input.const_data_ptr(), output.mutable_data_ptr(), static_cast<size_t>(output.numel()), type,
                                          operation, link, stream);
               });
}

// As bytes: NCCL knows fewer dtypes than LibTorch.
Work NcclCommunicator::all_gather(const Tensor& output, const Tensor& input, std::string_view label) {
  check_parts_on_device(output, input, size_, device_);
  return start("ncclAllGather", next(Call(Kind::all_gather, label, input.scalar_type(), input.numel())), {output, input},
               [=](ncclComm_t link, cudaStream_t stream) {
                 return ncclAllGather(input.const_data_ptr(), output.mutable_data_ptr(), input.nbytes(), ncclUint8, link, stream);
               });
}

Work NcclCommunicator::broadcast(const Tensor& tensor, int root, std::string_view label) {
  check_on_device(tensor, device_);
  check_rank("broadcast from", root, size_);
  return start("ncclBroadcast", next(Call(Kind::broadcast, label, tensor.scalar_type(), tensor.numel(), ReduceOp::sum, root)), {tensor},
               [=](ncclComm_t link, cudaStream_t stream) {
                 return ncclBroadcast(tensor.const_data_ptr(), tensor.mutable_data_ptr(), tensor.nbytes(), ncclUint8, root, link, stream);
               });
}

Work NcclCommunicator::gather_shared(const Tensor&, std::string_view) {
  throw UsageError("cuda", "gather_shared between GPUs, which share no memory", "use all_gather");
}

Work NcclCommunicator::start_messages(const Call& call, const std::vector<Transfer>& messages) {
  std::vector<Tensor> tensors;
  tensors.reserve(messages.size());
  for (const auto& message : messages) tensors.push_back(message.tensor);
  return start("a group of ncclSend and ncclRecv", call, std::move(tensors), [&messages](ncclComm_t link, cudaStream_t stream) {
    NcclGroup group;
    for (const auto& [direction, tensor, peer] : messages)
      group.add(direction == Transfer::Direction::send
                    ? ncclSend(tensor.const_data_ptr(), tensor.nbytes(), ncclUint8, peer, link, stream)
                    : ncclRecv(tensor.mutable_data_ptr(), tensor.nbytes(), ncclUint8, peer, link, stream));
    return group.end();
  });
}

Work NcclCommunicator::transfer(std::span<const Transfer> transfers, std::string_view label) {
  for (const auto& transfer : transfers) {
    check_on_device(transfer.tensor, device_);
    check_rank("a message to or from", transfer.peer, size_);
  }
  if (transfers.empty()) return {};
  const auto& first = transfers.front();
  const auto kind = first.direction == Transfer::Direction::send ? Kind::send : Kind::recv;
  const Call call(kind, label, first.tensor.scalar_type(), first.tensor.numel(), ReduceOp::sum, first.peer);
  return start_messages(next(call, /*compared=*/false), {transfers.begin(), transfers.end()});
}

Work NcclCommunicator::all_to_all(const Tensor& output, std::span<const int64_t> output_counts, const Tensor& input,
                                  std::span<const int64_t> input_counts, std::string_view label) {
  const auto messages = messages_of_all_to_all(output, output_counts, input, input_counts, size_, device_);
  const bool has_counts = !output_counts.empty() || !input_counts.empty();
  Call call(Kind::all_to_all, label, input.scalar_type(), has_counts ? 0 : input.numel() / size_);
  call.header.has_counts = has_counts;
  return start_messages(next(call), messages);
}

void NcclCommunicator::barrier(std::string_view label) {
  sequence_++;
  host_->barrier(label);
}

Tensor NcclCommunicator::allocate(int64_t numel, at::ScalarType dtype) {
  if (numel < 0) throw UsageError("cuda", fmt::format("allocate({}) elements", numel), "give a number that is not negative");
  sequence_++;
  const c10::cuda::CUDAGuard guard(device_);
  const Tensor tensor = numel > 0 ? memory_->allocate(numel, dtype, *host_) : Tensor();
  return tensor.defined() ? tensor : plain_zeros(numel, dtype, device_);
}

// NCCL may deadlock in a split while operations of the communicator are outstanding.
void NcclCommunicator::wait_until_idle() {
  if (watch_->wait_until_idle(parts_.timeout + patience_at_the_end)) return;
  poll_of(host_)();
  throw CudaError(fmt::format("communicator {} cannot be split: its collectives do not end", parts_.name),
                  "look for an earlier error of the device");
}

std::unique_ptr<Communicator> NcclCommunicator::split(int color, int key) {
  sequence_++;
  const c10::cuda::CUDAGuard guard(device_);
  wait_until_idle();
  Parts parts = parts_;
  parts.stream = stream_;
  parts.host = host_->split(color, key);
  parts.name = fmt::format("{}/{}.{}", parts_.name, ++splits_, color);
  parts.rank_names.clear();
  for (const int rank : all_gather_value(*parts.host, rank_)) parts.rank_names.push_back(parts_.rank_names[static_cast<size_t>(rank)]);
  if (parts_.roll_call != MPI_COMM_NULL) check_mpi(MPI_Comm_split(parts_.roll_call, color, key, &parts.roll_call), "MPI_Comm_split");
  try {
    parts.link = link_->split(color, key, {device_, poll_of(parts.host), parts_.timeout, parts_.ranks_and_hosts, parts.name});
  } catch (const CommunicatorAborted&) {
    throw;
  } catch (const std::exception& error) {
    host_->abort(error.what());  // the others wait for this rank
    throw;
  }
  return std::unique_ptr<NcclCommunicator>(new NcclCommunicator(std::move(parts), device_));
}

void NcclCommunicator::abort(const std::string& reason) noexcept {
  host_->abort(reason);
  link_->abort();
}

}  // namespace levin
