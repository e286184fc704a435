#include "nccl_communicator.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "levin/comm/agree.h"
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

// What a collective on the stream needs until it is done.
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

// Throws what ended the job.
NcclLink::Poll poll_of(Communicator& host) {
  return [node = host.node()] {
    if (!node->aborted()) return;
    const auto notice = node->abort_notice();
    throw CommunicatorAborted(notice.by_rank, notice.reason);
  };
}

// A GPU's UUID, in numbers that are exact in a double.
using GpuId = std::array<double, 4>;
GpuId id_of(c10::Device device) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device.index()), "cudaGetDeviceProperties");
  std::array<uint32_t, 4> words{};
  static_assert(sizeof(words) == sizeof(properties.uuid));
  std::memcpy(words.data(), &properties.uuid, sizeof(words));
  return {static_cast<double>(words[0]), static_cast<double>(words[1]), static_cast<double>(words[2]), static_cast<double>(words[3])};
}

// Sets the device, and sees that no other rank of the host has it too; NCCL's words for that would be "invalid usage". All ranks get an
// error where one does.
void take_device(const MpiRuntime& runtime, NodeGroup& node, c10::Device device) {
  std::exception_ptr failure;
  Standing standing;
  const auto attempt = [&](const auto& step) {
    if (!failure) try {
        step();
      } catch (const Error& error) {
        failure = std::current_exception();
        standing = {error.exit_code(), error.what(), {}};
      }
  };
  GpuId mine{};
  attempt([&] {
    check_cuda(cudaSetDevice(device.index()), "cudaSetDevice");
    mine = id_of(device);
  });
  std::vector<GpuId> all(static_cast<size_t>(node.size()));
  node.exchange(mine, {all.front().data(), 4 * all.size()});
  attempt([&] {
    for (size_t other = 0; other < all.size(); other++)
      if (static_cast<int>(other) != node.rank() && all[other] == mine)
        throw ConfigError(fmt::format("{} ranks on a host, and its local ranks {} and {} have the same GPU", node.size(),
                                      std::min(static_cast<int>(other), node.rank()), std::max(static_cast<int>(other), node.rank())),
                          "start at most one rank for each GPU, and let a rank see all of its host's or one of its own", "cuda");
  });
  const Agreement agreement = agree(runtime, standing);
  if (failure) std::rethrow_exception(failure);
  if (!agreement.good()) throw CudaError(fmt::format("rank {} has no GPU: {}", agreement.rank, agreement.message));
}

// For the message of ranks that do not meet.
std::string hosts_of(const MpiRuntime& runtime) {
  constexpr size_t most = 8;
  std::vector<std::string> hosts;
  const auto topology = Topology::discover(runtime);
  for (const auto& place : topology.places())
    if (std::find(hosts.begin(), hosts.end(), place.host) == hosts.end()) hosts.push_back(place.host);
  const bool cut = hosts.size() > most;
  if (cut) hosts.resize(most);
  return fmt::format("{} ranks on {}{}; rank {} on {} waited", runtime.size(), fmt::join(hosts, ", "), cut ? ", …" : "", runtime.rank(),
                     topology.self().host);
}

// Rank 0's id, or its error on all ranks.
ncclUniqueId share_id(const MpiRuntime& runtime) {
  struct {
    ncclUniqueId id;
    int failed;
    char words[512];
  } message{};
  if (runtime.rank() == 0) try {
      check_nccl(ncclGetUniqueId(&message.id), "ncclGetUniqueId");
    } catch (const CudaError& error) {
      message.failed = 1;
      std::strncpy(message.words, error.what(), sizeof(message.words) - 1);
    }
  check_mpi(MPI_Bcast(&message, sizeof(message), MPI_BYTE, 0, runtime.communicator()), "MPI_Bcast");
  if (message.failed) throw CudaError(fmt::format("rank 0 could not begin with NCCL: {}", message.words));
  return message.id;
}

}  // namespace

std::unique_ptr<NcclCommunicator> NcclCommunicator::create(const MpiRuntime& runtime, const std::string& window_directory,
                                                           c10::Device device, std::chrono::seconds limit) {
  const std::string who = hosts_of(runtime);
  std::shared_ptr<Communicator> host = Communicator::create_cpu(runtime, window_directory);
  take_device(runtime, *host->node(), device);
  const ncclUniqueId id = share_id(runtime);
  try {
    auto link = NcclLink::connect(id, runtime.rank(), runtime.size(), poll_of(*host), limit, who);
    return std::unique_ptr<NcclCommunicator>(new NcclCommunicator(std::move(host), std::move(link), device, limit, who));
  } catch (const CommunicatorAborted&) {
    throw;
  } catch (const std::exception& error) {
    host->abort(error.what());  // the others wait for this rank
    throw;
  }
}

NcclCommunicator::NcclCommunicator(std::shared_ptr<Communicator> host, std::shared_ptr<NcclLink> link, c10::Device device,
                                   std::chrono::seconds limit, std::string who)
    : host_(std::move(host)),
      link_(std::move(link)),
      device_(device),
      limit_(limit),
      who_(std::move(who)),
      stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())),
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
                     "give contiguous tensors of the communicator's device; host() takes those in host memory");
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
  return Work([flight, poll = poll_of(*host_)] {
    poll();
    flight->done.block(c10::cuda::getCurrentCUDAStream(flight->stream.device_index()));
    flight->landed = true;
  });
}

Work NcclCommunicator::all_reduce(const Tensor& tensor, ReduceOp op) {
  check(tensor);
  const auto type = type_of(tensor.scalar_type());
  const auto operation = operation_of(op, tensor.scalar_type());
  return start("ncclAllReduce", {tensor}, [=](ncclComm_t link, cudaStream_t stream) {
    return ncclAllReduce(tensor.const_data_ptr(), tensor.mutable_data_ptr(), static_cast<size_t>(tensor.numel()), type, operation, link,
                         stream);
  });
}

Work NcclCommunicator::reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op) {
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
Work NcclCommunicator::all_gather(const Tensor& output, const Tensor& input) {
  check(output), check(input);
  check_parts(output, input);
  return start("ncclAllGather", {output, input}, [=](ncclComm_t link, cudaStream_t stream) {
    return ncclAllGather(input.const_data_ptr(), output.mutable_data_ptr(), input.nbytes(), ncclUint8, link, stream);
  });
}

Work NcclCommunicator::broadcast(const Tensor& tensor, int root) {
  check(tensor);
  if (root < 0 || root >= size_)
    throw UsageError("cuda", fmt::format("broadcast from rank {} of {}", root, size_), "give a rank of the communicator");
  return start("ncclBroadcast", {tensor}, [=](ncclComm_t link, cudaStream_t stream) {
    return ncclBroadcast(tensor.const_data_ptr(), tensor.mutable_data_ptr(), tensor.nbytes(), ncclUint8, root, link, stream);
  });
}

Work NcclCommunicator::gather_shared(const Tensor&) {
  throw UsageError("cuda", "gather_shared between GPUs, which share no memory", "use all_gather");
}

void NcclCommunicator::check_parts(const Tensor& whole, const Tensor& part) const {
  if (whole.numel() != part.numel() * size_ || whole.scalar_type() != part.scalar_type())
    throw UsageError("cuda",
                     fmt::format("the whole has {} elements of {} and this rank's part {} of {}", whole.numel(),
                                 c10::toString(whole.scalar_type()), part.numel(), c10::toString(part.scalar_type())),
                     fmt::format("the whole of {} ranks has {} times as many elements of the same dtype", size_, size_));
}

void NcclCommunicator::barrier() {
  sequence_++;
  host_->barrier();
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
    const c10::cuda::OptionalCUDAGuard there(device);
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
  auto link = link_->split(color, key, poll_of(*host), limit_, who_);
  return std::unique_ptr<NcclCommunicator>(new NcclCommunicator(std::move(host), std::move(link), device_, limit_, who_));
}

void NcclCommunicator::abort(const std::string& reason) noexcept {
  host_->abort(reason);
  link_->abort();
}

}  // namespace levin
