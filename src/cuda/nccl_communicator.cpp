#include "nccl_communicator.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <thread>

#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/comm/topology.h"

namespace levin {
namespace {

ncclDataType_t type_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return ncclFloat32;
    case at::kDouble: return ncclFloat64;
    case at::kHalf: return ncclFloat16;
    case at::kBFloat16: return ncclBfloat16;
    case at::kLong: return ncclInt64;
    case at::kInt: return ncclInt32;
    case at::kChar: return ncclInt8;
    case at::kByte: return ncclUint8;
    default:
      throw UsageError("cuda", fmt::format("a reduction of {}", c10::toString(dtype)),
                       "NCCL reduces fp16, bf16, fp32, fp64, int8, uint8, int32 and int64");
  }
}

ncclRedOp_t operation_of(ReduceOp op, at::ScalarType dtype) {
  if (op == ReduceOp::mean && !at::isFloatingType(dtype))
    throw UsageError("cuda", fmt::format("the mean of {}", c10::toString(dtype)), "sum them, or convert to a floating-point dtype");
  switch (op) {
    case ReduceOp::sum: return ncclSum;
    case ReduceOp::mean: return ncclAvg;
    case ReduceOp::min: return ncclMin;
    case ReduceOp::max: return ncclMax;
  }
  return ncclSum;
}

// Objects that a collective on the stream needs until its end.
struct Flight {
  Flight(std::vector<Tensor> used, c10::cuda::CUDAStream on) : tensors(std::move(used)), stream(on) {}
  // Nobody has waited: the allocator must not give the memory away before the stream is through.
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
  c10::cuda::CUDAEvent done;
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
    if (result_ == ncclSuccess || result_ == ncclInProgress) result_ = result;
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

// Throws what ended the job.
NcclLink::Poll poll_of(Communicator& host) {
  return [node = host.node()] {
    if (!node->aborted()) return;
    const auto notice = node->abort_notice();
    throw CommunicatorAborted(notice.by_rank, notice.reason);
  };
}

cudaUUID_t id_of(c10::Device device) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device.index()), "cudaGetDeviceProperties");
  return properties.uuid;
}

// Sets the device, and sees that no other rank of the host has it too; NCCL's words for that would be "invalid usage". All ranks get an
// error where one does.
void take_device(const MpiRuntime& runtime, NodeGroup& node, c10::Device device) {
  const auto mine = on_all_ranks(runtime.communicator(), "cuda", [&] {
    check_cuda(cudaSetDevice(device.index()), "cudaSetDevice");
    return id_of(device);
  });
  std::vector<cudaUUID_t> all(static_cast<size_t>(node.size()));
  node.exchange_structs(mine, std::span(all));
  on_all_ranks(runtime.communicator(), "cuda", [&] {
    for (int other = 0; other < node.size(); other++)
      if (other != node.rank() && std::memcmp(&all[static_cast<size_t>(other)], &mine, sizeof(mine)) == 0)
        throw ConfigError(fmt::format("{} ranks on a host, and its local ranks {} and {} have the same GPU", node.size(),
                                      std::min(other, node.rank()), std::max(other, node.rank())),
                          "start at most one rank for each GPU, and let a rank see all of its host's GPUs or its own alone", "cuda");
  });
}

// For the message of a NCCL timeout.
std::string hosts_of(const MpiRuntime& runtime) {
  constexpr size_t most = 8;
  std::vector<std::string> hosts;
  const auto topology = Topology::discover(runtime);
  for (const auto& location : topology.locations())
    if (std::find(hosts.begin(), hosts.end(), location.host) == hosts.end()) hosts.push_back(location.host);
  const bool cut = hosts.size() > most;
  if (cut) hosts.resize(most);
  return fmt::format("{} ranks on {}{}; rank {} on {} waited", runtime.size(), fmt::join(hosts, ", "), cut ? ", …" : "", runtime.rank(),
                     topology.self().host);
}

// Rank 0's id, or its error on all ranks.
ncclUniqueId share_id(const MpiRuntime& runtime) {
  auto id = on_all_ranks(runtime.communicator(), "cuda", [&] {
    ncclUniqueId id{};
    if (runtime.rank() == 0) check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
    return id;
  });
  check_mpi(MPI_Bcast(&id, sizeof(id), MPI_BYTE, 0, runtime.communicator()), "MPI_Bcast");
  return id;
}

}  // namespace

std::unique_ptr<NcclCommunicator> NcclCommunicator::create(const MpiRuntime& runtime, const std::string& window_directory,
                                                           c10::Device device, std::chrono::seconds limit) {
  const std::string hosts = hosts_of(runtime);
  std::shared_ptr<Communicator> host = Communicator::create_cpu(runtime, window_directory);
  take_device(runtime, *host->node(), device);
  const ncclUniqueId id = share_id(runtime);
  try {
    auto link = NcclLink::connect(id, runtime.rank(), runtime.size(), poll_of(*host), limit, hosts);
    return std::unique_ptr<NcclCommunicator>(new NcclCommunicator(std::move(host), std::move(link), device, limit, hosts));
  } catch (const CommunicatorAborted&) {
    throw;
  } catch (const std::exception& error) {
    host->abort(error.what());  // the others wait for this rank
    throw;
  }
}

NcclCommunicator::NcclCommunicator(std::shared_ptr<Communicator> host, std::shared_ptr<NcclLink> link, c10::Device device,
                                   std::chrono::seconds limit, std::string hosts, std::optional<c10::cuda::CUDAStream> stream)
    : host_(std::move(host)),
      link_(std::move(link)),
      device_(device),
      limit_(limit),
      hosts_(std::move(hosts)),
      stream_(stream ? *stream : c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())),
      watch_(std::make_unique<NcclWatch>(link_, *host_, device)) {
  rank_ = host_->rank();
  size_ = host_->size();
}

NcclCommunicator::~NcclCommunicator() = default;

void NcclCommunicator::check(const Tensor& tensor) const {
  if (!tensor.defined() || tensor.device() != device_ || !tensor.is_contiguous())
    throw UsageError("cuda",
                     fmt::format("a collective on a tensor that is {}",
                                 !tensor.defined()            ? std::string("undefined")
                                 : tensor.device() != device_ ? fmt::format("on {}, not on {}", tensor.device().str(), device_.str())
                                                              : std::string("not contiguous")),
                     "give contiguous tensors of the communicator's device; cpu() takes those in host memory");
}

Work NcclCommunicator::start(const char* call, std::vector<Tensor> tensors,
                             const std::function<ncclResult_t(ncclComm_t, cudaStream_t)>& queue) {
  sequence_++;
  const c10::cuda::CUDAGuard guard(device_);
  c10::cuda::CUDAEvent ready;
  ready.record(c10::cuda::getCurrentCUDAStream(device_.index()));
  ready.block(stream_);
  link_->run(call, [&](ncclComm_t link) { return queue(link, stream_.stream()); });
  auto flight = std::make_shared<Flight>(std::move(tensors), stream_);
  flight->done.record(stream_);
  const auto poll = poll_of(*host_);
  return Work(
      [flight, poll] {
        poll();
        flight->done.block(c10::cuda::getCurrentCUDAStream(flight->stream.device_index()));
        flight->landed = true;
      },
      [flight, poll] {
        while (!flight->done.query()) {
          poll();
          std::this_thread::yield();
        }
        poll();  // an abort ends NCCL's kernels, and leaves no result
      });
}

Work NcclCommunicator::all_reduce(const Tensor& tensor, ReduceOp op, std::string_view) {
  check(tensor);
  const auto type = type_of(tensor.scalar_type());
  const auto operation = operation_of(op, tensor.scalar_type());
  return start("ncclAllReduce", {tensor}, [=](ncclComm_t link, cudaStream_t stream) {
    return ncclAllReduce(tensor.const_data_ptr(), tensor.mutable_data_ptr(), static_cast<size_t>(tensor.numel()), type, operation, link,
                         stream);
  });
}

Work NcclCommunicator::reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op, std::string_view) {
  check(output), check(input);
  check_parts(input, output);
  const auto type = type_of(input.scalar_type());
  const auto operation = operation_of(op, input.scalar_type());
  return start("ncclReduceScatter", {output, input}, [=](ncclComm_t link, cudaStream_t stream) {
    return ncclReduceScatter(input.const_data_ptr(), output.mutable_data_ptr(), static_cast<size_t>(output.numel()), type, operation, link,
                             stream);
  });
}

// What is only moved travels as bytes, so every dtype will do.
Work NcclCommunicator::all_gather(const Tensor& output, const Tensor& input, std::string_view) {
  check(output), check(input);
  check_parts(output, input);
  return start("ncclAllGather", {output, input}, [=](ncclComm_t link, cudaStream_t stream) {
    return ncclAllGather(input.const_data_ptr(), output.mutable_data_ptr(), input.nbytes(), ncclUint8, link, stream);
  });
}

Work NcclCommunicator::broadcast(const Tensor& tensor, int root, std::string_view) {
  check(tensor);
  if (root < 0 || root >= size_)
    throw UsageError("cuda", fmt::format("broadcast from rank {} of {}", root, size_), "give a rank of the communicator");
  return start("ncclBroadcast", {tensor}, [=](ncclComm_t link, cudaStream_t stream) {
    return ncclBroadcast(tensor.const_data_ptr(), tensor.mutable_data_ptr(), tensor.nbytes(), ncclUint8, root, link, stream);
  });
}

Work NcclCommunicator::gather_shared(const Tensor&, std::string_view) {
  throw UsageError("cuda", "gather_shared between GPUs, which share no memory", "use all_gather");
}

void NcclCommunicator::check_parts(const Tensor& whole, const Tensor& part) const {
  if (whole.numel() != part.numel() * size_ || whole.scalar_type() != part.scalar_type())
    throw UsageError("cuda",
                     fmt::format("the whole has {} elements of {} and this rank's part {} of {}", whole.numel(),
                                 c10::toString(whole.scalar_type()), part.numel(), c10::toString(part.scalar_type())),
                     fmt::format("the whole of {} ranks has {} times as many elements of the same dtype", size_, size_));
}

Work NcclCommunicator::transfer(std::span<const Transfer> transfers, std::string_view) {
  std::vector<Tensor> tensors;
  for (const auto& [direction, tensor, peer] : transfers) {
    check(tensor);
    if (peer < 0 || peer >= size_)
      throw UsageError("cuda", fmt::format("a message to or from rank {} of {}", peer, size_), "give a rank of the communicator");
    tensors.push_back(tensor);
  }
  return start("a group of ncclSend and ncclRecv", std::move(tensors),
               [messages = std::vector(transfers.begin(), transfers.end())](ncclComm_t link, cudaStream_t stream) {
                 NcclGroup group;
                 for (const auto& [direction, tensor, peer] : messages)
                   group.add(direction == Transfer::Direction::send
                                 ? ncclSend(tensor.const_data_ptr(), tensor.nbytes(), ncclUint8, peer, link, stream)
                                 : ncclRecv(tensor.mutable_data_ptr(), tensor.nbytes(), ncclUint8, peer, link, stream));
                 return group.end();
               });
}

std::vector<int64_t> NcclCommunicator::check_counts(const Tensor& tensor, std::span<const int64_t> counts) const {
  if (counts.empty() && tensor.numel() % size_ == 0) return std::vector<int64_t>(static_cast<size_t>(size_), tensor.numel() / size_);
  const bool fits = static_cast<int>(counts.size()) == size_ &&
                    std::all_of(counts.begin(), counts.end(), [](int64_t n) { return n >= 0; }) &&
                    std::accumulate(counts.begin(), counts.end(), int64_t{0}) == tensor.numel();
  if (!fits)
    throw UsageError("cuda", fmt::format("all_to_all of {} elements in {} parts by {} ranks", tensor.numel(), counts.size(), size_),
                     "give a count that is not negative for each rank; their sum is the tensor's number of elements");
  return {counts.begin(), counts.end()};
}

Work NcclCommunicator::all_to_all(const Tensor& output, std::span<const int64_t> output_counts, const Tensor& input,
                                  std::span<const int64_t> input_counts, std::string_view label) {
  check(output), check(input);
  const auto expected = check_counts(output, output_counts), sent = check_counts(input, input_counts);
  if (output.scalar_type() != input.scalar_type() || (output_counts.empty() && input_counts.empty() && output.numel() != input.numel()))
    throw UsageError("cuda",
                     fmt::format("all_to_all from {} elements of {} to {} of {}", input.numel(), c10::toString(input.scalar_type()),
                                 output.numel(), c10::toString(output.scalar_type())),
                     "give an output of the input's dtype and, in equal parts, its number of elements");
  std::vector<Transfer> transfers;
  int64_t input_begin = 0, output_begin = 0;
  for (int peer = 0; peer < size_; peer++) {
    const int64_t to = sent[static_cast<size_t>(peer)], from = expected[static_cast<size_t>(peer)];
    if (to > 0) transfers.push_back({Transfer::Direction::send, input.view({-1}).narrow(0, input_begin, to), peer});
    if (from > 0) transfers.push_back({Transfer::Direction::recv, output.view({-1}).narrow(0, output_begin, from), peer});
    input_begin += to;
    output_begin += from;
  }
  return transfer(transfers, label);
}

void NcclCommunicator::barrier(std::string_view label) {
  sequence_++;
  host_->barrier(label);
}

Tensor NcclCommunicator::allocate(int64_t numel, at::ScalarType dtype) {
  if (numel < 0) throw UsageError("cuda", fmt::format("allocate({}) elements", numel), "give a number that is not negative");
  sequence_++;
  const c10::cuda::CUDAGuard guard(device_);
  const auto options = at::TensorOptions(dtype).device(device_);
  const size_t bytes = static_cast<size_t>(numel) * c10::elementSize(dtype);
  void* data = nullptr;
  if (bytes == 0 || ncclMemAlloc(&data, bytes) != ncclSuccess) return at::zeros({numel}, options);
  // The memory is freed when everything on the device is done; should a kernel hang by then, it must be ended first.
  const auto free = [link = link_, device = device_, buffer = link_->add_buffer(data, bytes)](void* memory) {
    if (std::uncaught_exceptions() > 0) link->abort();
    const c10::cuda::OptionalCUDAGuard guard(device);
    cudaDeviceSynchronize();
    link->remove_buffer(buffer);
    ncclMemFree(memory);
  };
  Tensor tensor = at::for_blob(data, {numel}).deleter(free).options(options).target_device(device_).make_tensor();
  check_cuda(cudaMemsetAsync(data, 0, bytes, c10::cuda::getCurrentCUDAStream(device_.index())), "cudaMemsetAsync");
  return tensor;
}

std::unique_ptr<Communicator> NcclCommunicator::split(int color, int key) {
  sequence_++;
  const c10::cuda::CUDAGuard guard(device_);
  std::shared_ptr<Communicator> host = host_->split(color, key);
  auto link = link_->split(color, key, poll_of(*host), limit_, hosts_);
  return std::unique_ptr<NcclCommunicator>(new NcclCommunicator(std::move(host), std::move(link), device_, limit_, hosts_, stream_));
}

void NcclCommunicator::abort(const std::string& reason) noexcept {
  host_->abort(reason);
  link_->abort();
}

}  // namespace levin
