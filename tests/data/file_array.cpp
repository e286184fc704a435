#include "levin/data/file_array.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include <array>
#include <cstring>

#include "../checkpoint/checkpoint_sample.h"
#include "levin/core/error.h"
#include "levin/data/array_dataset.h"
#include "levin/data/npy_array.h"
#include "levin/data/safetensors_array.h"
#include "levin/data/slice_dataset.h"
#include "levin_test.h"
#include "test_paths.h"

using namespace levin::test;
using levin::ArrayDataset;
using levin::DataError;
using levin::NpyArray;
using levin::SafetensorsArray;
using levin::UsageError;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(data_file_array)

namespace {

struct ArrayFolder {
  std::unique_ptr<levin::Communicator> communicator = levin::Communicator::create_cpu(runtime());
  SharedFolder folder{*communicator};

  fs::path write(const std::string& name, const std::string& bytes) const {
    write_bytes(folder.path / name, bytes);
    return folder.path / name;
  }
  void python(const std::string& program) const {
    output_of("cd '" + folder.path.string() + "' && '" + std::string(LEVIN_TESTS) + "/../tools/tests-python' -c \"" + program + "\"");
  }
};

std::string npy(std::string header, const std::string& values, char major = 1) {
  header += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += major;
  bytes += '\0';
  bytes += static_cast<char>(header.size() & 255);
  bytes += static_cast<char>(header.size() >> 8);
  if (major > 1) bytes += std::string(2, '\0');
  return bytes + header + values;
}

const std::string twelve_floats(48, '\0');

}  // namespace

BOOST_AUTO_TEST_CASE(npy_files_of_numpy) {
  const ArrayFolder files;
  files.python(
      "import numpy\n"
      "for t in ['float16', 'float32', 'float64', 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32']:\n"
      "  numpy.save(t, numpy.arange(72).reshape(12, 2, 3).astype(t))\n"
      "numpy.save('bool', numpy.arange(12) % 2 == 0)\n"
      "numpy.save('flat', numpy.asfortranarray(numpy.arange(12)))\n"
      "numpy.lib.format.write_array(open('version2.npy', 'wb'), numpy.arange(12), version=(2, 0))\n"
      "numpy.lib.format.write_array(open('version3.npy', 'wb'), numpy.arange(12), version=(3, 0))\n");
  const std::vector<std::pair<std::string, at::ScalarType>> types{{"float16", at::kHalf},
                                                                  {"float32", at::kFloat},
                                                                  {"float64", at::kDouble},
                                                                  {"int8", at::kChar},
                                                                  {"int16", at::kShort},
                                                                  {"int32", at::kInt},
                                                                  {"int64", at::kLong},
                                                                  {"uint8", at::kByte},
                                                                  {"uint16", at::ScalarType::UInt16},
                                                                  {"uint32", at::ScalarType::UInt32}};
  for (const auto& [name, dtype] : types) {
    BOOST_TEST_CONTEXT(name) {
      const NpyArray array(files.folder.path / (name + ".npy"));
      BOOST_TEST(array.dtype() == dtype);
      BOOST_TEST((array.shape() == at::IntArrayRef{12, 2, 3}));
      BOOST_TEST(at::equal(array.read(5, 3).to(at::kLong), at::arange(30, 48).view({3, 2, 3})));
      check_throws<UsageError>([&] { array.read(10, 3); }, {"which has 12"});
    }
  }
  BOOST_TEST(at::equal(NpyArray(files.folder.path / "bool.npy").read(0, 12).to(at::kLong), at::arange(1, 13).remainder(2)));
  for (const auto* name : {"flat.npy", "version2.npy", "version3.npy"})
    BOOST_TEST(at::equal(NpyArray(files.folder.path / name).read(0, 12), at::arange(12)));
}

// Dictionary, bytes of values, and what the message says.
BOOST_AUTO_TEST_CASE(npy_headers_that_are_refused) {
  const ArrayFolder files;
  const std::vector<std::array<std::string, 2>> cases{
      {"{'descr': '>f4', 'fortran_order': False, 'shape': (12,), }", "is big-endian"},
      {"{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4), }", "is in Fortran order"},
      {"{'descr': '<c8', 'fortran_order': False, 'shape': (6,), }", "has the dtype \"<c8\""},
      {"{'descr': '|O', 'fortran_order': False, 'shape': (6,), }", "has the dtype \"|O\""},
      {"{'descr': '<U4', 'fortran_order': False, 'shape': (3,), }", "has the dtype"},
      {"{'descr': '', 'fortran_order': False, 'shape': (3,), }", "has the dtype"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (12,), }", "structured dtype"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "48 bytes of values"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (13,), }", "needs 52"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (11,), }", "needs 44"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 12), }", "needs 0"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-12,), }", "no size at byte"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (12L,), }", "no comma"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904), }", "overflows"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "no size"},
      {"{'descr': '<f4', 'fortran_order': 0, 'shape': (12,), }", "neither True nor False"},
      {"{'descr': '<f4', 'fortran_order': False}", "not all of"},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (12,), }", "twice"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (12,), 'more': 1}", "unknown key"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (12,), } 1", "further text"},
      {"__import__('os').system('true')", "no {"},
      {"", "no {"},
  };
  for (const auto& [header, message] : cases) BOOST_TEST_CONTEXT(header) {
      const auto file = files.write("x.npy", npy(header, twelve_floats));
      check_throws<DataError>([&] { NpyArray{file}; }, {"[data] " + file.string(), message, "; "});
    }
  const auto scalar = files.write("scalar.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", std::string(4, '\0')));
  check_throws<DataError>([&] { NpyArray{scalar}; }, {"is a scalar"});
}

BOOST_AUTO_TEST_CASE(npy_files_cut_at_every_byte_and_with_flipped_bytes) {
  const ArrayFolder files;
  const std::string good = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }", twelve_floats);
  BOOST_TEST(NpyArray(files.write("good.npy", good)).rows() == 3);
  for (size_t length = 0; length < good.size(); length++) {
    const auto file = files.write("cut.npy", good.substr(0, length));
    check_throws<DataError>([&] { NpyArray{file}; }, {"cut.npy"});
  }
  check_throws<DataError>([&] { NpyArray{files.write("long.npy", good + "x")}; }, {"49 bytes of values"});
  for (size_t at = 0; at < good.size() - twelve_floats.size(); at++)
    for (const int bit : {1, 8, 32, 128}) {
      std::string broken = good;
      broken[at] = static_cast<char>(broken[at] ^ bit);
      const auto file = files.write("flipped.npy", broken);
      try {  // what is still a header has as many bytes of values
        const NpyArray array(file);
        BOOST_TEST(array.row_bytes() * static_cast<size_t>(array.rows()) == twelve_floats.size());
      } catch (const DataError&) {
      }
    }
  for (const auto& [bytes, message] : {std::pair<std::string, std::string>{"PK\3\4" + std::string(60, 'x'), "numpy.save(FILE, ARRAY)"},
                                       {"not numpy at all", "is not a .npy file"},
                                       {npy("{}", "", 4), "unknown .npy format 4.0"}})
    check_throws<DataError>([&, bytes = bytes] { NpyArray{files.write("other.npy", bytes)}; }, {message});
  check_throws<DataError>([&] { NpyArray{files.folder.path / "gone.npy"}; }, {"gone.npy", "is missing"});
}

BOOST_AUTO_TEST_CASE(a_bool_is_zero_or_one) {
  const ArrayFolder files;
  const NpyArray array(files.write("bool.npy", npy("{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }", std::string("\0\1\2", 3))));
  BOOST_TEST(array.read(0, 2).size(0) == 2);
  check_throws<DataError>([&] { array.read(1, 2); }, {"bool.npy", "the value 2"});
}

BOOST_AUTO_TEST_CASE(tensors_of_safetensors_files) {
  const ArrayFolder files;
  files.python(
      "import numpy\n"
      "from safetensors.numpy import save_file\n"
      "save_file({'image': numpy.arange(72, dtype='float32').reshape(12, 2, 3), 'label': numpy.arange(12), 'one': numpy.array(1.0)}, "
      "'x.safetensors')\n");
  const auto file = files.folder.path / "x.safetensors";
  const SafetensorsArray image(file, "image");
  BOOST_TEST((image.shape() == at::IntArrayRef{12, 2, 3}));
  BOOST_TEST(at::equal(image.read(5, 3), at::arange(30, 48, at::kFloat).view({3, 2, 3})));
  BOOST_TEST(at::equal(SafetensorsArray(file, "label").read(0, 12), at::arange(12)));
  check_throws<DataError>([&] { SafetensorsArray(file, "images"); },
                          {"[data] " + file.string() + ": \"images\" is missing", "image, label, one"});
  check_throws<DataError>([&] { SafetensorsArray(file, "one"); }, {"is a scalar"});
  const auto size = fs::file_size(file);
  for (size_t length = 0; length < size; length += 7) {
    fs::resize_file(file, size);
    fs::copy_file(file, files.folder.path / "cut.safetensors", fs::copy_options::overwrite_existing);
    fs::resize_file(files.folder.path / "cut.safetensors", length);
    check_throws<DataError>([&] { SafetensorsArray(files.folder.path / "cut.safetensors", "image"); }, {"[data]", "cut.safetensors"});
  }
  check_throws<DataError>([&] { SafetensorsArray(files.write("x.bin", "PK\3\4" + std::string(60, 'x')), "image"); }, {"a zip archive"});
}

BOOST_AUTO_TEST_CASE(tensors_of_several_safetensors_files) {
  const ArrayFolder files;
  files.python(
      "import json, numpy, struct\n"
      "from safetensors.numpy import save_file\n"
      "save_file({'x': numpy.arange(8).reshape(4, 2)}, 'part1.safetensors')\n"
      "header = json.dumps({'__metadata__': None, 'q': {'dtype': 'F8_E4M3', 'shape': [4], 'data_offsets': [0, 4]}, "
      "'e': {'dtype': 'F8_E8M0', 'shape': [1], 'data_offsets': [4, 5]}}).encode()\n"
      "open('part2.safetensors', 'wb').write(struct.pack('<Q', len(header)) + header + b'8@DH8')\n"
      "json.dump({'weight_map': {'x': 'part1.safetensors', 'q': 'part2.safetensors', 'e': 'part2.safetensors', 'y': 'part1.safetensors'}}, "
      "open('x.safetensors.index.json', 'w'))\n");
  const auto index = files.folder.path / "x.safetensors.index.json";
  BOOST_TEST(at::equal(SafetensorsArray(index, "x").read(1, 2), at::arange(2, 6).view({2, 2})));
  check_throws<DataError>([&] { SafetensorsArray(index, "z"); }, {"[data] " + index.string() + ": \"z\" is missing", "e, q, x, y"});
  check_throws<DataError>([&] { SafetensorsArray(index, "y"); }, {"\"y\" is missing in ", "part1.safetensors", "name one of: x"});
  check_throws<DataError>([&] { SafetensorsArray(index, "q"); }, {"\"q\" has the dtype Float8_e4m3fn", "data.dtype: float32"});
  check_throws<DataError>([&] { SafetensorsArray(index, "e", SafetensorsArray::Fp8::read); }, {"\"e\" has the dtype Float8_e8m0fnu"});
  const auto q = SafetensorsArray(index, "q", SafetensorsArray::Fp8::read).read(0, 4);
  BOOST_TEST(at::equal(q.to(at::kFloat), at::tensor({1.F, 2.F, 3.F, 4.F})));
  fs::remove(files.folder.path / "part1.safetensors");
  check_throws<DataError>([&] { SafetensorsArray(index, "x"); }, {"part1.safetensors is missing"});
}

BOOST_AUTO_TEST_CASE(a_data_set_of_arrays_and_a_slice_of_it) {
  const ArrayFolder files;
  files.python(
      "import numpy\nnumpy.save('x', numpy.arange(24.0).reshape(12, 2))\nnumpy.save('y', numpy.arange(12))\nnumpy.save('short', "
      "numpy.arange(11))\n"
      "numpy.save('none', numpy.zeros((0, 2)))\n");
  const auto open = [&](const std::vector<std::string>& names) {
    ArrayDataset::Arrays arrays;
    for (const auto& name : names) arrays.emplace_back(name, std::make_unique<NpyArray>(files.folder.path / (name + ".npy")));
    return std::make_shared<ArrayDataset>(std::move(arrays));
  };
  const auto data = open({"x", "y"});
  levin::Batch batch;
  data->get(std::vector<int64_t>{3, 4, 0, 11, 11}, batch);
  BOOST_TEST(at::equal(batch["y"], at::tensor({3, 4, 0, 11, 11}, at::kLong)));
  BOOST_TEST(at::equal(batch["x"].select(1, 1), at::tensor({7, 9, 1, 23, 23}, at::kDouble)));
  const levin::SliceDataset slice(data, 4, 9);
  BOOST_TEST(slice.size() == 5);
  slice.get(std::vector<int64_t>{0, 4}, batch);
  BOOST_TEST(at::equal(batch["y"], at::tensor({4, 8}, at::kLong)));
  check_throws<UsageError>([&] { slice.get(std::vector<int64_t>{5}, batch); }, {"sample 5", "has 5"});
  check_throws<UsageError>([&] { levin::SliceDataset(data, 4, 13); }, {"samples 4 to 13", "has 12"});
  check_throws<DataError>([&] { open({"x", "short"}); }, {"short.npy has 11 rows", "x.npy has 12"});
  check_throws<DataError>([&] { open({"none"}); }, {"none.npy has no rows"});
}

BOOST_AUTO_TEST_SUITE_END()
