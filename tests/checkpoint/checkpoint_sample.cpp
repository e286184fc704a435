#include "checkpoint_sample.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <boost/test/framework.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "levin_test.h"

namespace levin::test {
namespace {

struct Kind {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
};

std::vector<Kind> kinds(int64_t extra) {
  return {{"model/conv1.weight", at::kFloat, {8, 3, 5, 5}},
          {"model/conv1.bias", at::kFloat, {8}},
          {"model/deep/er/weight", at::kDouble, {70, 101}},
          {"model/half", at::kHalf, {33}},
          {"model/bfloat16", at::kBFloat16, {7, 9}},
          {"counts/int64", at::kLong, {}},
          {"counts/int32", at::kInt, {5}},
          {"counts/int16", at::kShort, {2, 2}},
          {"counts/int8", at::kChar, {3}},
          {"rng/state", at::kByte, {5056}},
          {"mask", at::kBool, {3, 5}},
          {"nothing", at::kFloat, {4, 0, 2}},
          {"model/größer", at::kFloat, {extra}}};
}

// What all bf16 and fp16 hold exactly.
Tensor values(const Kind& kind, int64_t step) {
  int64_t numel = 1;
  for (const int64_t size : kind.shape) numel *= size;
  const auto numbers = at::arange(numel, at::kLong).mul(7).add(step * 31);
  return numbers.remainder(kind.dtype == at::kBool ? 2 : 101).to(kind.dtype).view(kind.shape).contiguous();
}

// Uneven: the first rank has the least.
int64_t cut(int64_t numel, int rank, int ranks) { return numel * rank * (rank + 1) / (static_cast<int64_t>(ranks) * (ranks + 1)); }

}  // namespace

SharedFolder::SharedFolder(Communicator& communicator, const std::string& parent) : communicator_(communicator) {
  std::array<char, 256> name{};
  if (communicator.rank() == 0) {
    std::snprintf(name.data(), name.size(), "%s/levin-test-XXXXXX", parent.c_str());
    if (!mkdtemp(name.data())) throw std::runtime_error("no folder in " + parent);
  }
  communicator.broadcast(at::from_blob(name.data(), {static_cast<int64_t>(name.size())}, at::kByte), 0).wait();
  path = name.data();
}

SharedFolder::~SharedFolder() {
  if (std::uncaught_exceptions() == 0) communicator_.barrier();
  std::error_code unseen;
  if (communicator_.rank() == 0) std::filesystem::remove_all(path, unseen);
}

Sample::Sample(int64_t step, int rank, int ranks, int64_t extra) {
  for (const auto& kind : kinds(extra)) {
    const auto tensor = values(kind, step);
    state.tensors.push_back({kind.name, kind.dtype, kind.shape});
    const int64_t begin = cut(tensor.numel(), rank, ranks), end = cut(tensor.numel(), rank + 1, ranks);
    const auto* data = static_cast<const std::byte*>(tensor.const_data_ptr());
    // In two pieces, the later one first.
    const int64_t middle = begin + (end - begin) / 3;
    for (auto [from, to] : {std::pair(middle, end), std::pair(begin, middle)})
      state.pieces.push_back(
          {kind.name, Hyperslab::range(from, to), data ? data + from * static_cast<int64_t>(tensor.element_size()) : nullptr});
    tensors.push_back(tensor);
  }
  state.texts = {{"loops", "{\"step\": " + std::to_string(step) + "}"},
                 {"config/trainer", std::string(static_cast<size_t>(step % 7) * 40, 'x') + "ü"}};
}

void check_sample(const CheckpointReader& reader, int64_t step, int rank, int ranks, int64_t extra) {
  const Sample whole(step, 0, 1, extra);
  BOOST_TEST(reader.tensors().size() == whole.tensors.size());
  for (size_t i = 0; i < whole.tensors.size(); i++) {
    const auto& entry = whole.state.tensors[i];
    const auto* found = reader.find(entry.name);
    BOOST_REQUIRE_MESSAGE(found, entry.name);
    BOOST_CHECK_MESSAGE(*found == entry, entry.name);
    const int64_t numel = entry.numel(), begin = numel * rank / ranks, end = numel * (rank + 1) / ranks;
    const auto got = at::empty({end - begin}, entry.dtype);
    reader.read(entry.name, begin, end, got.mutable_data_ptr());
    BOOST_CHECK_MESSAGE(at::equal(got, whole.tensors[i].flatten().slice(0, begin, end)), entry.name << " differs");
  }
  BOOST_TEST(reader.texts().size() == whole.state.texts.size());
  for (const auto& [name, text] : whole.state.texts) BOOST_TEST(reader.texts().at(name) == text);
}

void flip(const std::filesystem::path& file, uint64_t bit) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(bit / 8));
  const int byte = stream.get();
  stream.seekp(static_cast<std::streamoff>(bit / 8));
  stream.put(static_cast<char>(byte ^ (1 << bit % 8)));
  stream.close();
  if (!stream) throw std::runtime_error("cannot flip a bit of " + file.string());
}

std::string bytes_of(const std::filesystem::path& file) {
  std::stringstream bytes;
  bytes << std::ifstream(file, std::ios::binary).rdbuf();
  return bytes.str();
}

void write_bytes(const std::filesystem::path& file, const std::string& bytes) { std::ofstream(file, std::ios::binary) << bytes; }

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

int rounds() {
  const auto& suite = boost::unit_test::framework::master_test_suite();
  const int number = suite.argc > 1 ? std::atoi(suite.argv[1]) : 200;
  BOOST_REQUIRE(number > 0);
  return number;
}

std::string output_of(const std::string& command) {
  std::FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (!pipe) throw std::runtime_error("cannot run " + command);
  std::string text;
  for (int letter; (letter = std::fgetc(pipe)) != EOF;) text += static_cast<char>(letter);
  if (pclose(pipe) != 0) throw std::runtime_error(command + ": " + text);
  return text;
}

}  // namespace levin::test
