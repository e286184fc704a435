#include "levin/data/tensor_dataset.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/tensor.h>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::Batch;
using levin::TensorDataset;
using levin::UsageError;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(data_tensor_dataset)

BOOST_AUTO_TEST_CASE(gathers_like_index_select) {
  const std::vector<int64_t> indices{7, 0, 3, 3, 9};
  const auto index = at::tensor(indices);
  for (const auto dtype :
       {at::kByte, at::kShort, at::kInt, at::kLong, at::kFloat, at::kDouble, at::kBool, at::kBFloat16, at::kComplexDouble})
    for (const auto& shape : {std::vector<int64_t>{10}, {10, 1}, {10, 3}, {10, 2, 5}, {10, 0}}) {
      const auto rows = at::randint(0, 100, shape).to(dtype);
      Batch batch;
      TensorDataset({{"rows", rows}}).get(indices, batch);
      BOOST_TEST(batch["rows"].scalar_type() == dtype);
      BOOST_TEST(at::equal(batch["rows"], rows.index_select(0, index)));
    }
}

BOOST_AUTO_TEST_CASE(keeps_a_view_of_other_layout) {
  const auto rows = at::arange(12).view({3, 4}).t();
  Batch batch;
  TensorDataset({{"rows", rows}}).get(std::vector<int64_t>{2, 1}, batch);
  BOOST_TEST(at::equal(batch["rows"], at::tensor(std::vector<int64_t>{2, 6, 10, 1, 5, 9}).view({2, 3})));
}

BOOST_AUTO_TEST_CASE(scales_bytes) {
  const auto rows = at::arange(256).to(at::kByte).view({16, 16});
  TensorDataset data({{"image", rows}, {"label", at::arange(16)}});
  data.scale_bytes("image", 1 / 128.0F, -1);
  Batch batch;
  data.get(std::vector<int64_t>{15, 2}, batch);
  BOOST_TEST(batch["image"].scalar_type() == at::kFloat);
  BOOST_TEST(at::equal(batch["image"], rows.index_select(0, at::tensor(std::vector<int64_t>{15, 2})).to(at::kFloat).mul(1 / 128.0).sub(1)));
  BOOST_TEST(batch["label"][0].item<int64_t>() == 15);
}

BOOST_AUTO_TEST_CASE(memory_is_used_again_unless_somebody_holds_it) {
  const TensorDataset data({{"rows", at::arange(20).view({10, 2})}});
  Batch batch;
  data.get(std::vector<int64_t>{1, 2, 3}, batch);
  const void* memory = batch["rows"].const_data_ptr();
  data.get(std::vector<int64_t>{4, 5}, batch);  // smaller
  BOOST_TEST(batch["rows"].const_data_ptr() == memory);
  BOOST_TEST(batch["rows"].size(0) == 2);
  const auto view = batch["rows"][0];  // a view of the storage, another tensor
  data.get(std::vector<int64_t>{6, 7}, batch);
  BOOST_TEST(batch["rows"].const_data_ptr() != memory);
  BOOST_TEST(view[0].item<int64_t>() == 8);
  const Batch kept = batch;
  data.get(std::vector<int64_t>{8, 9}, batch);
  BOOST_TEST(kept["rows"][0][0].item<int64_t>() == 12);
  BOOST_TEST(batch["rows"][0][0].item<int64_t>() == 16);
}

BOOST_AUTO_TEST_CASE(bad_input) {
  const auto rows = at::arange(10);
  check_throws<UsageError>([&] { TensorDataset({{"a", rows}, {"b", at::arange(9)}}); }, {"\"b\" has 9", "\"a\" has 10"});
  check_throws<UsageError>([&] { TensorDataset({{"a", rows}, {"a", rows}}); }, {"two tensors", "\"a\""});
  check_throws<UsageError>([&] { TensorDataset({{"a", rows[0]}}); }, {"is a scalar; its first dimension must be the sample"});
  check_throws<UsageError>([&] { TensorDataset({{"a", rows}}).scale_bytes("a", 1, 0); }, {"Long", "not uint8"});
  check_throws<UsageError>([&] { TensorDataset({{"a", rows}}).scale_bytes("b", 1, 0); }, {"no tensor \"b\""});
  Batch batch;
  for (const int64_t index : {-1, 10})
    check_throws<UsageError>(
        [&] {
          TensorDataset({{"a", rows}}).get(std::vector<int64_t>{0, index}, batch);
        },
        {std::to_string(index), "10"});
}

BOOST_AUTO_TEST_SUITE_END()
