#include "nccl_job.h"

#include <ATen/EmptyTensor.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/view_native.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <mpi.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <thread>

namespace c10::cuda::_internal {
C10_CUDA_API void setHasPrimaryContext(bool (*has)(DeviceIndex));
}

// The operations that the NCCL path and the arena make on the device. LibTorch's own are in libtorch_cuda, which needs a driver.
namespace {

at::Tensor empty_on_device(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                           std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), c10::GetAllocator(c10::kCUDA),
                                   c10::DispatchKeySet(c10::DispatchKey::CUDA), c10::dtype_or_default(dtype), format);
}

at::Tensor viewed(const at::Tensor& self, c10::SymIntArrayRef size) { return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size)); }

at::Tensor strided(const at::Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<c10::SymInt> offset) {
  return at::native::as_strided_tensorimpl(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                                           offset ? std::optional(offset->expect_int()) : std::nullopt);
}

// Of contiguous tensors of a dtype.
at::Tensor& copied(at::Tensor& self, const at::Tensor& source, bool) {
  TORCH_CHECK(self.nbytes() == source.nbytes() && self.is_contiguous() && source.is_contiguous(), "a copy that the stand-in does not make");
  stand_in::launch(c10::cuda::getCurrentCUDAStream().stream(), [to = self.mutable_data_ptr(), from = source.const_data_ptr(),
                                                                bytes = self.nbytes()] { std::memmove(to, from, bytes); });
  return self;
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", &empty_on_device);
  library.impl("view", &viewed);
  library.impl("as_strided", &strided);
  library.impl("copy_", &copied);
}

namespace levin::test {
namespace {

const c10::Device gpu(c10::kCUDA, 0);

template <class Kernel>
void on_current_stream(const Kernel& kernel) {
  stand_in::launch(c10::cuda::getCurrentCUDAStream().stream(), [kernel] {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    kernel();
  });
}

float* floats(const Tensor& tensor) { return static_cast<float*>(tensor.mutable_data_ptr()); }

}  // namespace

void use_stand_ins() {
  static const bool ready = [] {
    c10::cuda::_internal::setHasPrimaryContext([](c10::DeviceIndex) { return true; });
    c10::cuda::CUDACachingAllocator::init(1);
    return true;
  }();
  static_cast<void>(ready);
}

void meet() { MPI_Barrier(runtime().communicator()); }

NcclJob::NcclJob(std::chrono::milliseconds timeout) {
  use_stand_ins();
  options_.timeout = timeout;
  stand_in::reset();
  meet();
}

NcclJob::~NcclJob() {
  stop();
  meet();
  const auto& found = stand_in::nccl_findings();
  BOOST_TEST(found.mismatches == 0);
  BOOST_TEST(found.mixed_registrations == 0);
  BOOST_TEST(found.unequal_offsets == 0);
  BOOST_TEST(found.freed_in_use == 0);
  BOOST_TEST(found.used_after_abort == 0);
  BOOST_TEST(found.not_finalized == 0);
  BOOST_TEST(found.unsafe_aborts == 0);
  BOOST_TEST(found.busy_splits == 0);
  BOOST_TEST(found.parallel_calls == 0);
  stand_in::cuda_settings().delay_us = 0;
}

Communicator& NcclJob::start() {
  ranks_ = NcclCommunicator::create(runtime(), options_, gpu);
  return *ranks_;
}

void fill(const Tensor& tensor, float value) {
  on_current_stream([data = floats(tensor), numel = tensor.numel(), value] { std::fill_n(data, numel, value); });
}

void fill_up(const Tensor& tensor, float begin) {
  on_current_stream([data = floats(tensor), numel = tensor.numel(), begin] {
    for (int64_t i = 0; i < numel; i++) data[i] = begin + static_cast<float>(i);
  });
}

std::vector<float> values(const Tensor& tensor) {
  c10::cuda::getCurrentCUDAStream().synchronize();
  return {floats(tensor), floats(tensor) + tensor.numel()};
}

bool all_are(const Tensor& tensor, float value) {
  const auto read = values(tensor);
  return std::all_of(read.begin(), read.end(), [value](float element) { return element == value; });
}

Tensor device_tensor(int64_t numel) { return at::empty({numel}, at::TensorOptions(at::kFloat).device(gpu)); }

}  // namespace levin::test
