#include "levin/data/hdf5_array.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>

#include <sstream>
#include <thread>

#include "../checkpoint/checkpoint_sample.h"
#include "levin/core/error.h"
#include "levin/data/hdf5_dataset.h"
#include "levin_test.h"
#include "test_paths.h"

using namespace levin::test;
using levin::DataError;
using levin::Hdf5Array;
using levin::Hdf5Dataset;
using levin::UsageError;
namespace fs = std::filesystem;

namespace {

// What h5py writes: 12 rows of 0, 1, 2, … in each type.
struct Written {
  std::unique_ptr<levin::Communicator> communicator = levin::Communicator::create_cpu(runtime());
  SharedFolder folder{*communicator};
  fs::path file = folder.path / "data.h5";

  Written() {
    python(
        "import h5py, numpy, sys\n"
        "with h5py.File(sys.argv[1], 'w') as f:\n"
        "  for t in ['uint8', 'uint16', 'int32', 'int64', 'float32', 'float64']:\n"
        "    f['deep/er/' + t] = numpy.arange(72).reshape(12, 2, 3).astype(t)\n"
        "  f['flat'] = numpy.arange(12)\n"
        "  f['short'] = numpy.arange(11)\n"
        "  f['scalar'] = 3.0\n"
        "  f['none'] = numpy.zeros((0, 4))\n"
        "  f['soft'] = h5py.SoftLink('/flat')\n"
        "  f['detour'] = h5py.SoftLink('/deep')\n");
  }
  void python(const std::string& program) const {
    output_of("'" + std::string(LEVIN_TESTS) + "/../tools/tests-python' -c \"" + program + "\" '" + file.string() + "'");
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(data_hdf5_array)

BOOST_AUTO_TEST_CASE(reads_rows_of_what_h5py_writes) {
  const Written written;
  const std::vector<std::pair<std::string, at::ScalarType>> types{{"uint8", at::kByte},    {"uint16", at::ScalarType::UInt16},
                                                                  {"int32", at::kInt},     {"int64", at::kLong},
                                                                  {"float32", at::kFloat}, {"float64", at::kDouble}};
  for (const auto& [name, dtype] : types) {
    const Hdf5Array array(written.file, "deep/er/" + name);
    BOOST_TEST(array.dtype() == dtype);
    BOOST_TEST((array.shape() == at::IntArrayRef{12, 2, 3}));
    BOOST_TEST(at::equal(array.read(5, 3).to(at::kLong), at::arange(30, 48).view({3, 2, 3})));
    BOOST_TEST(array.read(12, 0).size(0) == 0);
  }
  BOOST_TEST(Hdf5Array(written.file, "none").rows() == 0);
  const Hdf5Array flat(written.file, "flat");
  for (const auto& [first, count] : {std::pair{0, 13}, {-1, 2}, {12, 1}, {3, -1}})
    check_throws<UsageError>([&, first = first, count = count] { flat.read(first, count); }, {"flat", "which has 12"});
}

BOOST_AUTO_TEST_CASE(threads_read_at_once) {
  const Written written;
  const Hdf5Array array(written.file, "flat");
  std::vector<int> good(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < good.size(); i++)
    threads.emplace_back([&, i] {
      for (int64_t row = 0; row < 12; row++) good[i] += array.read(row, 1).item<int64_t>() == row;
    });
  for (auto& thread : threads) thread.join();
  for (const int count : good) BOOST_TEST(count == 12);
}

BOOST_AUTO_TEST_CASE(nothing_of_a_file_is_trusted) {
  const Written written;
  const std::string tests = LEVIN_TESTS;
  std::stringstream cases(output_of("'" + tests + "/../tools/tests-python' '" + tests + "/checkpoint/hostile_files.py' '" +
                                    (written.folder.path / "hostile").string() + "'"));
  int count = 0;
  for (std::string line; std::getline(cases, line);) {
    const auto tab = line.find('\t');
    const fs::path file = written.folder.path / "hostile" / line.substr(0, tab) / "state.h5";
    const std::string words = line.substr(tab + 1);
    if (words.front() != '"' || words.find("manifest") != std::string::npos) continue;
    const std::string name = words.substr(1, words.find('"', 1) - 1);
    if (name != "w" && name != "model/w") continue;
    BOOST_TEST_CONTEXT(line) check_throws<DataError>([&] { Hdf5Array(file, name); }, {"[data] " + file.string(), name});
    count++;
  }
  BOOST_TEST(count >= 15);
}

BOOST_AUTO_TEST_CASE(names_and_files_that_are_none) {
  const Written written;
  const auto& file = written.file;
  for (const auto* name : {"", "/flat", "deep", "deep/er", "deep/er/none", "flat/x", "soft", "detour/er/int32", "../flat"})
    BOOST_TEST_CONTEXT(name) check_throws<DataError>([&] { Hdf5Array(file, name); }, {file.string(), "is not a data set"});
  check_throws<DataError>([&] { Hdf5Array(file, "scalar"); }, {"scalar", "has no rows"});
  write_bytes(written.folder.path / "text", "no HDF5");
  check_throws<DataError>([&] { Hdf5Array(written.folder.path / "text", "x"); }, {"is no HDF5 file"});
  check_throws<DataError>([&] { Hdf5Array(written.folder.path / "gone.h5", "x"); }, {"[data]", "gone.h5 is missing"});
  check_throws<DataError>([&] { Hdf5Array(written.folder.path, "x"); }, {"is not a regular file"});
  fs::create_symlink(file, written.folder.path / "link.h5");
  BOOST_TEST(Hdf5Array(written.folder.path / "link.h5", "flat").rows() == 12);
  fs::resize_file(file, fs::file_size(file) - 4096);
  BOOST_CHECK_THROW(Hdf5Array(file, "flat").read(0, 12), DataError);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(data_hdf5_dataset)

BOOST_AUTO_TEST_CASE(a_batch_has_a_row_for_each_index) {
  const Written written;
  const Hdf5Dataset data(written.file, {"flat", "deep/er/float32"});
  BOOST_TEST(data.size() == 12);
  levin::Batch batch;
  for (const auto& indices : {std::vector<int64_t>{3, 4, 5, 1, 1, 11, 0}, {7}, {}}) {
    data.get(indices, batch);
    BOOST_TEST(batch["flat"].size(0) == std::ssize(indices));
    BOOST_TEST((batch["deep/er/float32"].sizes() == at::IntArrayRef{std::ssize(indices), 2, 3}));
    for (int64_t i = 0; i < std::ssize(indices); i++) {
      const int64_t index = indices[static_cast<size_t>(i)];
      BOOST_TEST(batch["flat"][i].item<int64_t>() == index);
      BOOST_TEST(at::equal(batch["deep/er/float32"][i], at::arange(6 * index, 6 * index + 6, at::kFloat).view({2, 3})));
    }
  }
  check_throws<UsageError>([&] { data.get(std::vector<int64_t>{11, 12}, batch); }, {"which has 12"});
  check_throws<DataError>([&] { Hdf5Dataset(written.file, {"flat", "short"}); }, {"short", "has 11 rows", "flat", "has 12"});
  check_throws<UsageError>([&] { Hdf5Dataset(written.file, {}); }, {"name one"});
}

BOOST_AUTO_TEST_SUITE_END()
