#include "levin/device/accelerator.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>

#include "levin/comm/communicator.h"
#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(device_accelerator)

namespace {

struct Pretended : levin::Accelerator {
  explicit Pretended(int devices) : devices_(devices) {}
  std::string name() const override { return "pretended"; }
  int device_count() const override { return devices_; }
  c10::Device device(int, int) const override { return c10::Device(c10::kCPU); }
  std::unique_ptr<levin::Communicator> communicator(const levin::MpiRuntime&, const levin::CommunicatorOptions&,
                                                    c10::Device) const override {
    return nullptr;
  }
  int64_t alignment_bytes() const override { return 256; }
  void seed(uint64_t) const override {}
  void synchronize() const override {}
  int devices_;
};

}  // namespace

BOOST_AUTO_TEST_CASE(auto_prefers_a_device_and_falls_to_the_cpu) {
  levin::AcceleratorRegistry registry;
  BOOST_TEST(registry.create("auto")->name() == "cpu");
  registry.add("absent", [] { return std::make_unique<Pretended>(0); });
  BOOST_TEST(registry.create("auto")->name() == "cpu");
  registry.add("present", [] { return std::make_unique<Pretended>(1); });
  BOOST_TEST(registry.create("auto")->name() == "pretended");
  BOOST_TEST(registry.create("cpu")->alignment_bytes() == 64);
}

// LibTorch's CPU generator keeps 32 bits of a seed.
BOOST_AUTO_TEST_CASE(all_64_bits_of_a_seed_count) {
  const auto cpu = levin::make_cpu_accelerator();
  const auto draw = [&](uint64_t seed) {
    cpu->seed(seed);
    return at::rand({4}, at::kDouble);
  };
  std::vector<levin::Tensor> drawn;
  for (uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32, uint64_t{1} << 63, (uint64_t{1} << 32) + 1}) {
    drawn.push_back(draw(seed));
    BOOST_TEST(at::equal(draw(seed), drawn.back()));
    for (size_t i = 0; i + 1 < drawn.size(); i++) BOOST_TEST(!at::equal(drawn[i], drawn.back()));
  }
}

BOOST_AUTO_TEST_CASE(unknown_and_twice_registered_names_are_errors) {
  levin::AcceleratorRegistry registry;
  levin::test::check_throws<levin::ConfigError>([&] { registry.create("abacus"); },
                                                {"[device]", "\"abacus\"", "liblevin_abacus.so", "auto, cpu"});
  levin::test::check_throws<levin::UsageError>([&] { registry.add("cpu", nullptr); }, {"\"cpu\"", "already"});
}

BOOST_AUTO_TEST_SUITE_END()
