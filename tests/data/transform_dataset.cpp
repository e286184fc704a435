#include "levin/data/transform_dataset.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/mul.h>

#include <set>

#include "levin/data/data_loader.h"
#include "levin/data/tensor_dataset.h"
#include "levin_test.h"

using levin::Batch;

BOOST_AUTO_TEST_SUITE(data_transform_dataset)

namespace {

std::shared_ptr<levin::Dataset> doubled() {
  auto source =
      std::make_shared<levin::TensorDataset>(levin::TensorDataset({{"x", at::arange(200).view({100, 2})}, {"label", at::arange(100)}}));
  return std::make_shared<levin::TransformDataset>(source, [](const Batch& from, Batch& into) {
    at::Tensor out = levin::reuse_tensor(into, "twice", from["x"].sizes(), at::kLong);
    at::mul_out(out, from["x"], from["x"].new_full({}, 2));
    into.set("label", from["label"]);
    into.set_weight(static_cast<double>(from.indices().front()));
  });
}

}  // namespace

BOOST_AUTO_TEST_CASE(transforms_in_any_thread) {
  for (const int64_t workers : {0, 3}) {
    levin::DataLoaderOptions options;
    options.batch_size = 8;
    options.num_workers = workers;
    levin::DataLoader loader(doubled(), options);
    std::set<int64_t> seen;
    std::vector<Batch> kept;
    while (const Batch* batch = loader.next()) kept.push_back(*batch);
    for (const auto& batch : kept) {
      const auto& indices = batch.indices();
      BOOST_TEST(batch.weight() == static_cast<double>(indices.front()));
      for (size_t row = 0; row < indices.size(); ++row) {
        BOOST_REQUIRE(batch["twice"][static_cast<int64_t>(row)][0].item<int64_t>() == 4 * indices[row]);
        BOOST_REQUIRE(batch["label"][static_cast<int64_t>(row)].item<int64_t>() == indices[row]);
        seen.insert(indices[row]);
      }
    }
    BOOST_TEST(seen.size() == 100U);
  }
}

BOOST_AUTO_TEST_CASE(memory_is_used_again) {
  const auto data = doubled();
  Batch batch;
  data->get(std::vector<int64_t>{1, 2}, batch);
  const void* memory = batch["twice"].const_data_ptr();
  data->get(std::vector<int64_t>{3, 4}, batch);
  BOOST_TEST(batch["twice"].const_data_ptr() == memory);
}

BOOST_AUTO_TEST_SUITE_END()
