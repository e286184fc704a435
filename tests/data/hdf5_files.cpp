#include "levin/data/hdf5_files.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <thread>

#include "../checkpoint/checkpoint_sample.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "test_paths.h"

using namespace levin::test;
using levin::Batch;
using levin::DataError;
using levin::Hdf5Files;
using levin::Hdf5Rows;
using levin::Tensor;
using levin::UsageError;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(data_hdf5_files)

namespace {

// Files of h5py: 60 rows in the first, 40 in the second; row i has 15 numbers from 15 i on.
struct SeveralFiles {
  std::unique_ptr<levin::Communicator> communicator = levin::Communicator::create_cpu(runtime());
  SharedFolder folder{*communicator};
  fs::path first = folder.path / "first.h5", second = folder.path / "second.h5";

  SeveralFiles() {
    run_python(
        "import h5py, numpy, sys\n"
        "def write(path, begin, end):\n"
        "  x = numpy.arange(15 * begin, 15 * end).reshape(end - begin, 3, 5)\n"
        "  words = [['cat', 'dog', 'newt'][i % 3] for i in range(begin, end)]\n"
        "  with h5py.File(path, 'w') as f:\n"
        "    f['plain'] = x\n"
        "    f['big'] = x.astype('>i4')\n"
        "    f['big_float'] = x.astype('>f8')\n"
        "    f.create_dataset('chunked', data=x, chunks=(7, 3, 5))\n"
        "    f.create_dataset('tiles', data=x.astype('f4'), chunks=(7, 2, 2))\n"
        "    f.create_dataset('gzip', data=x, chunks=(7, 2, 3), compression='gzip', shuffle=True)\n"
        "    f.create_dataset('gzip_big', data=x.astype('>i2'), chunks=(7, 2, 3), compression='gzip', shuffle=True)\n"
        "    f.create_dataset('checksum', data=x, chunks=(7, 3, 5), compression='gzip', fletcher32=True)\n"
        "    f.create_dataset('scaled', data=x, chunks=(7, 3, 5), scaleoffset=0)\n"
        "    grown = f.create_dataset('unlimited', (1, 3, 5), 'i8', maxshape=(None, 3, 5), chunks=(4, 3, 5))\n"
        "    grown.resize(end - begin, 0)\n"
        "    grown[...] = x\n"
        "    holes = f.create_dataset('holes', x.shape, 'i4', chunks=(7, 2, 5), fillvalue=-3, compression='gzip')\n"
        "    holes[:20, :2] = x[:20, :2]\n"
        "    f['flag'] = (x[:, 0, 0] % 2 == 0)\n"
        "    f.create_dataset('kind', data=x[:, 0, 0] % 2, dtype=h5py.enum_dtype({'CAT': 0, 'DOG': 1}, 'i4'), chunks=(9,))\n"
        "    f.create_dataset('names', data=words, dtype=h5py.string_dtype(), chunks=(9,), compression='gzip')\n"
        "    f['fixed'] = numpy.array(words, 'S6')\n"
        "    f.create_dataset('fixed_gzip', data=numpy.array(words, 'S6'), chunks=(9,), compression='gzip')\n"
        "    f.create_dataset('single', data=numpy.array(words, 'S6')[:1])\n"
        "    odd = h5py.h5p.create(h5py.h5p.DATASET_CREATE)\n"
        "    odd.set_chunk((4,))\n"
        "    odd.set_filter(511, h5py.h5z.FLAG_OPTIONAL)\n"
        "    h5py.h5d.create(f.id, b'odd', h5py.h5t.NATIVE_INT64, h5py.h5s.create_simple((12,)), odd)\n"
        "    f.create_dataset('ragged', (end - begin,), h5py.vlen_dtype('f4'))\n"
        "write(sys.argv[1], 0, 60)\n"
        "write(sys.argv[2], 60, 100)\n");
  }
  void run_python(const std::string& program) const {
    output_of("'" + std::string(LEVIN_TESTS) + "/../tools/tests-python' -c \"" + program + "\" '" + first.string() + "' '" +
              second.string() + "'");
  }
  std::vector<fs::path> both() const { return {first, second}; }
};

Tensor all_rows() { return at::arange(1500).view({100, 3, 5}); }

const std::vector<int64_t> order = {99, 0, 1, 2, 59, 60, 61, 5, 5, 12, 13, 14, 98, 30, 7, 6};

Tensor batch_of(const Hdf5Files& data, const std::string& name, std::span<const int64_t> indices) {
  Batch batch;
  data.get(indices, batch);
  return batch[name];
}

}  // namespace

BOOST_AUTO_TEST_CASE(layouts_and_types_of_h5py) {
  const SeveralFiles written;
  const auto right = all_rows().index_select(0, at::tensor(order));
  const std::vector<std::pair<std::string, at::ScalarType>> cases{
      {"plain", at::kLong}, {"big", at::kInt},        {"big_float", at::kDouble}, {"chunked", at::kLong}, {"tiles", at::kFloat},
      {"gzip", at::kLong},  {"gzip_big", at::kShort}, {"checksum", at::kLong},    {"scaled", at::kLong},  {"unlimited", at::kLong}};
  for (const auto& [name, dtype] : cases) BOOST_TEST_CONTEXT(name) {
      const Hdf5Files data(written.both(), {name});
      BOOST_TEST(data.size() == 100);
      const auto got = batch_of(data, name, order);
      BOOST_TEST(got.scalar_type() == dtype);
      BOOST_TEST(at::equal(got.to(at::kLong), right));
    }
}

BOOST_AUTO_TEST_CASE(fill_values_bools_and_enumerations) {
  const SeveralFiles written;
  const Hdf5Files data(written.both(), {"holes", "flag", "kind"});
  Batch batch;
  data.get(order, batch);
  for (size_t i = 0; i < order.size(); ++i) {
    const auto at_row = static_cast<int64_t>(i), row = order[i], in_file = row < 60 ? row : row - 60;
    auto right = all_rows()[row].clone();
    if (in_file >= 20) right.fill_(-3);
    right[2].fill_(-3);
    BOOST_TEST(at::equal(batch["holes"][at_row].to(at::kLong), right));
    BOOST_TEST(batch["flag"][at_row].item<bool>() == (15 * row % 2 == 0));
    BOOST_TEST(batch["kind"][at_row].item<int64_t>() == 15 * row % 2);
  }
  BOOST_TEST(batch["flag"].scalar_type() == at::kBool);
  BOOST_TEST(batch["kind"].scalar_type() == at::kInt);
}

BOOST_AUTO_TEST_CASE(texts_are_classes) {
  const SeveralFiles written;
  for (const std::string name : {"names", "fixed", "fixed_gzip"}) BOOST_TEST_CONTEXT(name) {
      const Hdf5Files data(written.both(), {name, "gzip"});
      BOOST_TEST(data.classes(name) == (std::vector<std::string>{"cat", "dog", "newt"}), boost::test_tools::per_element());
      const auto numbers = batch_of(data, name, order);
      BOOST_TEST(numbers.scalar_type() == at::kLong);
      for (size_t i = 0; i < order.size(); ++i) BOOST_TEST(numbers[static_cast<int64_t>(i)].item<int64_t>() == order[i] % 3);
      check_throws<UsageError>([&] { data.classes("gzip"); }, {"\"gzip\"", "texts"});
    }
  const Hdf5Files given({written.second}, {"names"}, {.classes = {{"names", {"newt", "dog", "cat", "eel"}}}});
  BOOST_TEST(batch_of(given, "names", std::vector<int64_t>{0, 1, 2}).equal(at::tensor(std::vector<int64_t>{2, 1, 0})));
  check_throws<DataError>(
      [&] {
        Hdf5Files({written.first}, {"names"}, {.classes = {{"names", {"cat", "dog"}}}});
      },
      {"first.h5: \"names\"", "\"newt\" in row 2", "2 given classes"});
}

BOOST_AUTO_TEST_CASE(names_of_a_batch_have_other_data_sets) {
  const SeveralFiles written;
  const Hdf5Files data(written.both(), {"x", "label", "flag"},
                       {.classes = {{"label", {"newt", "cat", "dog"}}}, .data_sets = {{"x", "gzip"}, {"label", "fixed"}}});
  Batch batch;
  data.get(order, batch);
  BOOST_TEST(batch.tensors().size() == 3);
  BOOST_TEST(at::equal(batch["x"], all_rows().index_select(0, at::tensor(order))));
  for (size_t i = 0; i < order.size(); ++i) BOOST_TEST(batch["label"][static_cast<int64_t>(i)].item<int64_t>() == (order[i] + 1) % 3);
  check_throws<UsageError>([&] { data.classes("fixed"); }, {"\"fixed\""});
  check_throws<UsageError>(
      [&] {
        Hdf5Files(written.both(), {"x"}, {.data_sets = {{"X", "gzip"}}});
      },
      {"\"X\" has options", "name one of: x"});
  check_throws<UsageError>([&] { Hdf5Files(written.both(), {"gzip"}, {.classes = {{"y", {}}}}); }, {"\"y\" has options"});
  check_throws<DataError>(
      [&] {
        Hdf5Files(written.both(), {"gzip"}, {.classes = {{"gzip", {"a"}}}});
      },
      {"first.h5: \"gzip\" holds numbers", "remove the classes"});
}

// More than the cache holds, by several threads.
BOOST_AUTO_TEST_CASE(threads_share_a_small_cache) {
  const SeveralFiles written;
  const Hdf5Files data(written.both(), {"gzip", "tiles"}, {.classes = {}, .cache_bytes = 2000});
  const auto right = all_rows();
  std::vector<int> good(4);
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < good.size(); ++thread)
    threads.emplace_back([&, thread] {
      Batch batch;
      for (int64_t round = 0; round < 30; ++round) {
        const int64_t row = (static_cast<int64_t>(thread) * 31 + round * 17) % 100;
        data.get(std::vector<int64_t>{row, 99 - row}, batch);
        good[thread] += at::equal(batch["gzip"][0], right[row]) && at::equal(batch["tiles"][1].to(at::kLong), right[99 - row]);
      }
    });
  for (auto& thread : threads) thread.join();
  for (const int count : good) BOOST_TEST(count == 30);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_read_is_named) {
  const SeveralFiles written;
  check_throws<DataError>([&] { Hdf5Files({written.first}, {"ragged"}); }, {"[data]", "\"ragged\"", "variable length"});
  check_throws<DataError>([&] { Hdf5Files({written.first}, {"odd"}); },
                          {"\"odd\" has the filter number 511, which this HDF5 library lacks", "HDF5_PLUGIN_PATH"});
  check_throws<DataError>([&] { Hdf5Files({written.first}, {"gzipp"}); }, {"\"gzipp\" is missing", "did you mean"});
  check_throws<DataError>([&] { Hdf5Files({written.first}, {"plain", "single"}); }, {"\"single\" has 1 rows", "has 60"});
  check_throws<UsageError>([&] { Hdf5Files({}, {"plain"}); }, {"no HDF5 files"});
  check_throws<UsageError>([&] { Hdf5Files({written.first}, {}); }, {"no data sets"});
  check_throws<UsageError>([&] { batch_of(Hdf5Files(written.both(), {"gzip"}), "gzip", std::vector<int64_t>{100}); },
                           {"sample 100", "has 100"});
  written.run_python(
      "import h5py, sys\n"
      "with h5py.File(sys.argv[2], 'a') as f:\n"
      "  f['other'] = f['gzip'][:, 0]\n"
      "with h5py.File(sys.argv[1], 'a') as f:\n"
      "  f['other'] = f['gzip'][()]\n");
  check_throws<DataError>([&] { Hdf5Files(written.both(), {"other"}); }, {"\"other\"", "[5]", "[3, 5]", "second.h5"});
}

BOOST_AUTO_TEST_CASE(a_corrupt_chunk_is_an_error) {
  const SeveralFiles written;
  // The stored bytes of the first chunk begin with zlib's header; an inner byte is changed.
  written.run_python(
      "import h5py, sys\n"
      "with h5py.File(sys.argv[1], 'r') as f:\n"
      "  place = f['gzip'].id.get_chunk_info_by_coord((0, 0, 0))\n"
      "with open(sys.argv[1], 'r+b') as f:\n"
      "  f.seek(place.byte_offset + place.size // 2)\n"
      "  byte = f.read(1)[0]\n"
      "  f.seek(-1, 1)\n"
      "  f.write(bytes([byte ^ 255]))\n");
  const Hdf5Files data({written.first}, {"gzip"});
  check_throws<DataError>([&] { batch_of(data, "gzip", std::vector<int64_t>{0}); }, {"first.h5: \"gzip\"", "[0, 0, 0]", "corrupt"});
  BOOST_TEST(at::equal(batch_of(data, "gzip", std::vector<int64_t>{7})[0], all_rows()[7]));
}

BOOST_AUTO_TEST_SUITE_END()
