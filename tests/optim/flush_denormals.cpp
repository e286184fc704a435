#include "../../src/optim/flush_denormals.h"

#include <ATen/Parallel.h>
#include <ATen/ops/full.h>

#include "levin_test.h"

using levin::Tensor;

BOOST_AUTO_TEST_SUITE(optim_flush_denormals)

namespace {

struct Threads {
  explicit Threads(int threads) { at::set_num_threads(threads); }
  ~Threads() { at::set_num_threads(before); }
  const int before = at::get_num_threads();
};

}  // namespace

BOOST_AUTO_TEST_CASE(every_thread_takes_them_for_zeros_and_then_computes_as_before) {
  for (int threads : {1, 2, 4}) {
    const Threads guard(threads);
    const Tensor operand = at::full({1 << 20}, 1e-39f), normal = at::full({1 << 20}, 1e-30f);
    const auto check = [&](int64_t expected) {
      const auto nonzero = [](const Tensor& values) { return values.view(at::kInt).count_nonzero().item<int64_t>(); };
      BOOST_TEST(nonzero(operand * 1e20) == expected);
      BOOST_TEST(nonzero(normal * 1e-10) == expected);
      BOOST_TEST(nonzero(normal * 2) == normal.numel());
    };
    check(operand.numel());
    {
      const levin::FlushDenormals flush;
      check(0);
      {
        const levin::FlushDenormals inner;
        check(0);
      }
      check(0);
    }
    check(operand.numel());
  }
}

BOOST_AUTO_TEST_SUITE_END()
