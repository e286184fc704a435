#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "cuda_stand_in.h"

/// A stream: a thread that works off a queue. It lives as long as the process.
struct CUstream_st {
 public:
  CUstream_st();
  CUstream_st(const CUstream_st&) = delete;
  CUstream_st& operator=(const CUstream_st&) = delete;
  void add(std::function<void()> work);
  /// Waits until the queue is empty.
  void synchronize();
  bool idle();

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool busy_ = false;
};

namespace stand_in {

CUstream_st& stream_of(cudaStream_t stream);  ///< null is the default stream
CUstream_st* make_stream();
std::vector<CUstream_st*> all_streams();

}  // namespace stand_in
