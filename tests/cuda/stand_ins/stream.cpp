#include "stream.h"

#include <chrono>
#include <random>
#include <thread>

using stand_in::all_streams, stand_in::make_stream, stand_in::stream_of;

CUstream_st::CUstream_st() {
  std::thread([this] { loop(); }).detach();
}

void CUstream_st::add(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
  }
  changed_.notify_all();
}

void CUstream_st::synchronize() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return queue_.empty() && !busy_; });
}

bool CUstream_st::idle() {
  const std::lock_guard lock(mutex_);
  return queue_.empty() && !busy_;
}

void CUstream_st::loop() {
  for (;;) {
    std::function<void()> work;
    {
      std::unique_lock lock(mutex_);
      busy_ = false;
      changed_.notify_all();
      changed_.wait(lock, [this] { return !queue_.empty(); });
      work = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
    }
    stand_in::random_delay(stand_in::cuda_settings().delay_us);
    work();
  }
}

namespace stand_in {
namespace {

struct Streams {
  std::mutex mutex;
  std::vector<CUstream_st*> all;
};
Streams& streams() {
  static auto* const known = new Streams;  // threads use it until the process ends
  return *known;
}

}  // namespace

CudaSettings& cuda_settings() {
  static CudaSettings settings;
  return settings;
}

CudaCounters& cuda_counters() {
  static CudaCounters counters;
  return counters;
}

void random_delay(int microseconds) {
  if (microseconds <= 0) return;
  thread_local std::minstd_rand random(std::random_device{}());
  std::this_thread::sleep_for(std::chrono::microseconds(random() % static_cast<unsigned>(microseconds)));
}

CUstream_st* make_stream() {
  auto* stream = new CUstream_st;
  const std::lock_guard lock(streams().mutex);
  streams().all.push_back(stream);
  return stream;
}

CUstream_st& stream_of(cudaStream_t stream) {
  static CUstream_st* const standard = make_stream();
  return stream ? *stream : *standard;
}

std::vector<CUstream_st*> all_streams() {
  const std::lock_guard lock(streams().mutex);
  return streams().all;
}

void launch(cudaStream_t stream, std::function<void()> kernel) { stream_of(stream).add(std::move(kernel)); }

}  // namespace stand_in

extern "C" {

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0, *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  *stream = make_stream();
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  stream_of(stream).synchronize();
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) { return stream_of(stream).idle() ? cudaSuccess : cudaErrorNotReady; }
cudaError_t cudaDeviceSynchronize() {
  stand_in::cuda_counters().device_synchronizations++;
  for (auto* stream : all_streams()) stream->synchronize();
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t, cudaStreamCaptureStatus* status, unsigned long long*, cudaGraph_t*,
                                     const cudaGraphNode_t**, const cudaGraphEdgeData**, size_t*) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }

}  // extern "C"
