#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>

#include "../trainer/toy.h"
#include "needs_a_gpu.h"

using levin::test::fit, levin::test::runtime, levin::test::ToyData;

BOOST_AUTO_TEST_SUITE(cuda_cuda_accelerator, *boost::unit_test::fixture(&levin::test::needs_a_gpu))

BOOST_AUTO_TEST_CASE(is_found_and_taken_by_auto) {
  const auto accelerator = levin::AcceleratorRegistry().create("auto");
  BOOST_TEST(accelerator->name() == "cuda");
  BOOST_TEST(accelerator->device_count() > 0);
  BOOST_TEST(accelerator->device(0, 1) == c10::Device(c10::kCUDA, 0));
  const int count = accelerator->device_count();
  if (count > 1)
    levin::test::check_throws<levin::ConfigError>([&] { accelerator->device(0, count + 1); },
                                                  {std::to_string(count + 1) + " ranks", std::to_string(count) + " GPUs"});
}

BOOST_AUTO_TEST_CASE(seeds_the_device) {
  const auto accelerator = levin::AcceleratorRegistry().create("cuda");
  const auto draw = [&] {
    accelerator->seed(7);
    return at::rand({100}, at::TensorOptions(accelerator->device(0, 1)));
  };
  BOOST_TEST(at::equal(draw(), draw()));
}

BOOST_AUTO_TEST_CASE(trains_as_the_cpu_does) {
  if (!levin::test::enough_gpus()) return;
  const std::vector<levin::OptimizerSpec> specs{levin::AdamW{.lr = 0.01}, levin::SGD{.lr = 0.01, .momentum = 0.9},
                                                levin::LAMB{.lr = 0.01},  levin::Adagrad{.lr = 0.01},
                                                levin::Lion{.lr = 0.001}, levin::RMSprop{.lr = 0.001}};
  for (const auto& spec : specs) {
    ToyData data;
    levin::TrainerConfig config{.max_epochs = 2, .accumulate_grad_batches = 2};
    config.session.precision = levin::Precision::float64;
    config.session.gradient_clip_val = 0.5;
    const auto run_on = [&](const char* accelerator) {
      config.session.accelerator = accelerator;
      return fit(config, data, [&](levin::test::Toy& toy) { toy.spec = spec; });
    };
    const auto device = run_on("cuda"), host = run_on("cpu");
    BOOST_TEST(device.module->net->weight.is_cuda());
    BOOST_TEST(at::allclose(device.module->net->weight.cpu(), host.module->net->weight, 1e-9, 1e-12));
    const auto values = device.trainer->test(*device.module, data), expected = host.trainer->test(*host.module, data);
    for (size_t i = 0; i < expected.size(); i++) BOOST_TEST(values[i].second == expected[i].second, boost::test_tools::tolerance(1e-9));
  }
}

BOOST_AUTO_TEST_SUITE_END()
