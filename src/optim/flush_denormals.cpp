#include "flush_denormals.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/ops/from_blob.h>

#include "levin/core/tensor.h"

namespace levin {
namespace {

// Calls function(element) for each element, on this thread and LibTorch's intra-op threads; a thread gets the same elements in every call.
// TensorIterator runs inside LibTorch: at::parallel_for is serial in code that is compiled without -fopenmp, and linking another OpenMP
// runtime would start a second thread pool.
template <class Function>
void on_each_thread(std::vector<std::fenv_t>& elements, const Function& function) {
  if (elements.size() == 1) {
    function(elements.front());
    return;
  }
  constexpr int64_t size = sizeof(std::fenv_t);
  Tensor bytes = at::from_blob(elements.data(), {static_cast<int64_t>(elements.size())}, {size}, at::kByte);
  auto loop = at::TensorIteratorConfig().check_all_same_dtype(false).resize_outputs(false).add_output(bytes).build();
  loop.for_each(
      [&](char** data, const int64_t* strides, int64_t count, int64_t rows) {
        for (int64_t row = 0; row < rows; row++)
          for (int64_t i = 0; i < count; i++) function(*reinterpret_cast<std::fenv_t*>(*data + row * strides[1] + i * strides[0]));
      },
      /*grain_size=*/1);
}

}  // namespace

FlushDenormals::FlushDenormals() : before_(static_cast<size_t>(at::in_parallel_region() ? 1 : at::get_num_threads())) {
  on_each_thread(before_, [](std::fenv_t& before) {
    std::fegetenv(&before);
    at::globalContext().setFlushDenormal(true);
  });
}

FlushDenormals::~FlushDenormals() {
  on_each_thread(before_, [](const std::fenv_t& before) { std::fesetenv(&before); });
}

}  // namespace levin
