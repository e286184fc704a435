#include "levin/data/hdf5_array.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>

#include <array>
#include <sstream>
#include <thread>

#include "../checkpoint/checkpoint_sample.h"
#include "levin/core/error.h"
#include "levin/data/hdf5_files.h"
#include "levin_test.h"
#include "test_paths.h"

using namespace levin::test;
using levin::DataError;
using levin::Hdf5Array;
using levin::Hdf5Files;
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
        "  f['detour'] = h5py.SoftLink('/deep')\n"
        "  f['elsewhere'] = h5py.ExternalLink('other.h5', '/x')\n"
        "  f['strings'] = numpy.array([b'ab', b'cd'])\n"
        "  f.create_dataset('names', data=['a', 'bc'], dtype=h5py.string_dtype())\n"
        "  f['compound'] = numpy.zeros(3, [('a', 'f4'), ('b', 'i8')])\n"
        "  f['complex'] = numpy.zeros(3, 'c8')\n"
        "  f['big'] = numpy.arange(3).astype('>i8')\n"
        "  f['big_float'] = numpy.arange(3).astype('>f4')\n"
        "  f['long_double'] = numpy.zeros(3, 'longdouble')\n"
        "  f.create_dataset('classes', (3,), h5py.enum_dtype({'CAT': 0, 'DOG': 1}, 'i4'))\n"
        "  f.create_dataset('ragged', (3,), h5py.vlen_dtype('f4'))\n"
        "  f.create_dataset('grid', (3,), numpy.dtype(('f4', (2, 2))))\n"
        "  f['null'] = h5py.Empty('f4')\n"
        "  f.create_dataset('unwritten', (64, 3), 'f4')\n"
        "  f.create_dataset('gzip', data=numpy.arange(12), compression='gzip', shuffle=True)\n"
        "  f.create_dataset('chunked', data=numpy.arange(12), chunks=(4,))\n"
        "  f['type'] = numpy.dtype('f4')\n"
        "  f.create_group('hollow')\n");
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

// Name, what the message says of it, and a remedy that fits.
BOOST_AUTO_TEST_CASE(errors_name_the_object_and_a_remedy) {
  const Written written;
  const auto& file = written.file;
  const std::vector<std::array<std::string, 3>> cases{
      {"", "is not the name of a data set", "name one of: big, big_float, chunked, classes, complex, compound, deep, detour, ..."},
      {"/", "is not the name of a data set", "name one of: "},
      {"deep", "is a group, not a data set", "name one of: deep/er"},
      {"/deep/er/", "is a group, not a data set", "deep/er/float32, deep/er/float64, deep/er/int32"},
      {"hollow", "is a group, not a data set", "write data sets into it"},
      {"type", "is a named type, not a data set", "name one of: "},
      {"flatt", "is missing", "did you mean flat?"},
      {"deep/er/int23", "is missing", "did you mean deep/er/int32?"},
      {"deep/down/x", "is missing: the file has no group \"deep/down\"", "name one of: deep/er"},
      {"flat/x", "is missing: \"flat\" is a data set, not a group", "did you mean flat?"},
      {"../flat", "is missing", "name one of: "},
      {"soft", "leads over a soft link, \"soft\" to \"/flat\"", "name the data set that it links to"},
      {"detour/er/int32", "leads over a soft link, \"detour\" to \"/deep\"", "name the data set that it links to"},
      {"elsewhere", "leads over an external link, \"elsewhere\" to \"/x\" in \"other.h5\"", "read that file instead"},
      {"scalar", "is a scalar, so it has no rows", "a row for each sample"},
      {"null", "has a null dataspace", "write it with a shape"},
      {"unwritten", "was created and never written: the file has no storage for its 768 bytes", "write its values"},
      {"strings", "holds strings", "write them as integers"},
      {"names", "holds strings", "write them as integers"},
      {"compound", "holds compound values (a, b)", "write each field as a separate data set"},
      {"complex", "holds complex numbers", "real and imaginary parts"},
      {"big", "holds big-endian int64", "astype(\"<i8\")"},
      {"big_float", "holds big-endian float32", "astype(\"<f4\")"},
      {"long_double", "holds float128 of an uncommon layout", "float32, float64"},
      {"classes", "holds an enumeration (CAT, DOG)", "astype(\"int64\")"},
      {"ragged", "holds rows of variable length", "pad them to one length"},
      {"gzip", "has filters (shuffle, gzip)", "new[name] = old[name][()]"},
      {"chunked", "is chunked, not contiguous", "new[name] = old[name][()]"},
  };
  for (const auto& [name, why, remedy] : cases) BOOST_TEST_CONTEXT(name)
  check_throws<DataError>([&] { Hdf5Array(file, name); }, {"[data] " + file.string() + ": \"" + name + "\" " + why, "; ", remedy});
}

BOOST_AUTO_TEST_CASE(a_name_may_begin_with_a_slash) {
  const Written written;
  for (const auto* name : {"flat", "/flat"}) BOOST_TEST(Hdf5Array(written.file, name).rows() == 12);
  for (const auto* name : {"/deep/er/int32", "deep//er/int32"})
    BOOST_TEST((Hdf5Array(written.file, name).shape() == at::IntArrayRef{12, 2, 3}));
}

BOOST_AUTO_TEST_CASE(files_that_are_not_hdf5) {
  const Written written;
  const auto& file = written.file;
  write_bytes(written.folder.path / "text", "no HDF5");
  check_throws<DataError>([&] { Hdf5Array(written.folder.path / "text", "x"); }, {"text is not an HDF5 file, or is corrupt", "h5dump"});
  check_throws<DataError>([&] { Hdf5Array(written.folder.path / "gone.h5", "x"); }, {"[data]", "gone.h5 is missing"});
  check_throws<DataError>([&] { Hdf5Array(written.folder.path, "x"); }, {"is not a regular file"});
  fs::create_symlink(file, written.folder.path / "link.h5");
  BOOST_TEST(Hdf5Array(written.folder.path / "link.h5", "flat").rows() == 12);
  fs::resize_file(file, fs::file_size(file) - 4096);
  BOOST_CHECK_THROW(Hdf5Array(file, "flat").read(0, 12), DataError);
}

BOOST_AUTO_TEST_CASE(a_batch_has_a_row_for_each_index) {
  const Written written;
  const Hdf5Files data({written.file}, {"flat", "deep/er/float32"});
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
  check_throws<UsageError>([&] { data.get(std::vector<int64_t>{11, 12}, batch); }, {"the data set has 12"});
  check_throws<DataError>([&] { Hdf5Files({written.file}, {"flat", "short"}); }, {"short", "has 11 rows", "flat", "has 12"});
  check_throws<DataError>([&] { Hdf5Files({written.file}, {"none"}); },
                          {"\"none\" has no rows: its shape is [0, 4]", "write at least one row"});
  check_throws<UsageError>([&] { Hdf5Files({written.file}, {}); }, {"no data sets of ", "name at least one"});
}

BOOST_AUTO_TEST_SUITE_END()
