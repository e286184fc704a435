#include "levin/data/idx.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::DataError;
using levin::IoError;
using levin::read_idx;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(data_idx)

namespace {

std::string header(uint8_t type, const std::vector<uint32_t>& shape) {
  std::string bytes{'\0', '\0', static_cast<char>(type), static_cast<char>(shape.size())};
  for (const auto length : shape)
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(length >> shift);
  return bytes;
}

std::string gzip(const std::string& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  BOOST_REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

// A file of the test's own, gone with it.
struct Sample {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("levin_idx_" + std::to_string(getpid()));
  Sample() = default;
  explicit Sample(const std::string& bytes) { write(bytes); }
  ~Sample() { std::filesystem::remove(path); }
  void write(const std::string& bytes) const {
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
};

void refused(const std::string& bytes, const std::vector<std::string>& parts) {
  const Sample sample(bytes);
  check_throws<DataError>([&] { read_idx(sample.path); }, parts);
}

template <class Value, class Word>
std::string big_endian(const std::vector<Value>& values) {
  std::string bytes;
  for (const auto value : values) {
    const auto word = std::bit_cast<Word>(value);
    for (int shift = 8 * sizeof(Word) - 8; shift >= 0; shift -= 8) bytes += static_cast<char>(word >> shift);
  }
  return bytes;
}

const std::string good = header(8, {2, 3}) + "abcdef";

}  // namespace

BOOST_AUTO_TEST_CASE(reads_plain_and_gzip) {
  const auto expected = at::tensor(std::vector<uint8_t>{'a', 'b', 'c', 'd', 'e', 'f'}).view({2, 3});
  for (const auto& bytes : {good, gzip(good), gzip(good.substr(0, 7)) + gzip(good.substr(7))}) {
    const Sample sample(bytes);
    const auto tensor = read_idx(sample.path);
    BOOST_TEST(tensor.scalar_type() == at::kByte);
    BOOST_TEST(at::equal(tensor, expected));
  }
}

BOOST_AUTO_TEST_CASE(reads_every_type) {
  const Sample sample;
  sample.write(header(9, {2}) + "\x80\x7F");
  BOOST_TEST(at::equal(read_idx(sample.path), at::tensor(std::vector<int8_t>{-128, 127})));
  sample.write(header(0x0B, {2}) + big_endian<int16_t, uint16_t>({-2, 258}));
  BOOST_TEST(at::equal(read_idx(sample.path), at::tensor(std::vector<int16_t>{-2, 258})));
  sample.write(header(0x0C, {2}) + big_endian<int32_t, uint32_t>({-2, 16909060}));
  BOOST_TEST(at::equal(read_idx(sample.path), at::tensor(std::vector<int32_t>{-2, 16909060})));
  sample.write(header(0x0D, {2, 1}) + big_endian<float, uint32_t>({1.5F, -3.25F}));
  BOOST_TEST(at::equal(read_idx(sample.path), at::tensor(std::vector<float>{1.5F, -3.25F}).view({2, 1})));
  sample.write(header(0x0E, {1}) + big_endian<double, uint64_t>({1e-300}));
  BOOST_TEST(at::equal(read_idx(sample.path), at::tensor(std::vector<double>{1e-300})));
}

BOOST_AUTO_TEST_CASE(cut_at_every_byte) {
  for (size_t length = 0; length < good.size(); ++length) {
    refused(good.substr(0, length), {"[data]", "levin_idx_"});
    refused(gzip(good.substr(0, length)), {"[data]", "levin_idx_"});
  }
  const auto packed = gzip(good);
  for (size_t length = 2; length < packed.size(); ++length) refused(packed.substr(0, length), {"[data]", "gzip file is truncated"});
  refused(good.substr(0, good.size() - 1), {"6 bytes", "at most 5 bytes"});
  refused(gzip(good.substr(0, good.size() - 1)), {"5 of 6 bytes"});
}

BOOST_AUTO_TEST_CASE(trailing_bytes) {
  refused(good + "g", {"has further bytes after its 6 bytes", "[2, 3]"});
  refused(gzip(good + "g"), {"has further bytes after its 6 bytes"});
  refused(gzip(good) + "garbage", {"gzip"});
  refused(gzip(good) + gzip("g"), {"further bytes after"});
}

BOOST_AUTO_TEST_CASE(other_magic) {
  refused("\x89PNG\r\n\x1A\n", {"magic number 0x89504e47"});
  for (const int type : {0, 7, 10, 15, 255}) refused(header(static_cast<uint8_t>(type), {2, 3}) + "abcdef", {"magic number"});
  refused(header(8, {}) + "a", {"magic number 0x00000800"});
  refused(header(8, {1, 1, 1, 1, 1, 1, 1, 1, 1}) + "a", {"magic number 0x00000809"});
  refused(header(8, {2, 0}), {"dimension 2 of 2 has length 0"});
}

BOOST_AUTO_TEST_CASE(promises_that_the_file_cannot_keep) {
  refused(header(8, {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}) + "abc", {"more than 64 bits count", "at most 3 bytes follow"});
  refused(header(0x0E, {0xFFFFFFFF, 0x80000000}) + "abc", {"more than 64 bits count"});
  refused(header(8, {1000, 1000, 1000}) + "abc", {"1000000000 bytes", "at most 3 bytes follow"});
  refused(gzip(header(8, {0xFFFFFFFF, 1000}) + "abc"), {"4294967295000 bytes"});  // no more than 1032 times what lies there
}

BOOST_AUTO_TEST_CASE(damaged_compression) {
  const auto packed = gzip(good);
  for (size_t at = 2; at < packed.size(); ++at) {
    auto damaged = packed;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    const Sample sample(damaged);
    try {  // bytes 4 to 9 hold time and system, which mean nothing
      const auto tensor = read_idx(sample.path);
      BOOST_TEST((at >= 4 && at <= 9), "byte " << at);
      BOOST_TEST(tensor.numel() == 6);
    } catch (const DataError&) {
    }
  }
}

BOOST_AUTO_TEST_CASE(files_that_cannot_be_read) {
  check_throws<IoError>([] { read_idx("/nowhere/at/all"); }, {"[data]", "/nowhere/at/all", "No such file"});
  check_throws<IoError>([] { read_idx("/"); }, {"not a regular file"});
  const Sample pipe;
  BOOST_REQUIRE(mkfifo(pipe.path.c_str(), 0600) == 0);
  check_throws<IoError>([&] { read_idx(pipe.path); }, {"not a regular file"});
}

BOOST_AUTO_TEST_SUITE_END()
