// Shards that are boxes: columns of a matrix, and any other that no range of the flattened tensor is.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <list>
#include <random>

#include "checkpoint_sample.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/checkpoint/safetensors.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "test_paths.h"

using namespace levin::test;
using levin::CheckpointReader;
using levin::CheckpointState;
using levin::CheckpointWriter;
using levin::Communicator;
using levin::DataError;
using levin::Hyperslab;
using levin::Manifest;
using levin::Tensor;
using levin::TensorSource;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(checkpoint_slabs)

namespace {

using Sizes = std::vector<int64_t>;
using Slabs = std::vector<Hyperslab>;

Tensor numbered(const Sizes& shape, at::ScalarType dtype, int64_t first = 0) {
  int64_t numel = 1;
  for (const int64_t size : shape) numel *= size;
  return at::arange(first, first + numel, at::kLong).remainder(dtype == at::kDouble ? 1 << 30 : 251).to(dtype).view(shape).contiguous();
}

Tensor part_of(const Tensor& whole, const Hyperslab& slab) {
  if (slab.flattened) return whole.flatten().narrow(0, slab.offset[0], slab.extent[0]).contiguous();
  Tensor part = whole;
  for (size_t i = 0; i < slab.offset.size(); i++) part = part.narrow(static_cast<int64_t>(i), slab.offset[i], slab.extent[i]);
  return part.contiguous();
}

/// What a rank brings.
struct Brought {
  CheckpointState state;
  std::list<Tensor> kept;

  void add(const std::string& name, const Tensor& whole, const Slabs& slabs) {
    state.tensors.push_back({name, whole.scalar_type(), whole.sizes().vec()});
    for (const auto& slab : slabs) {
      kept.push_back(part_of(whole, slab));
      state.pieces.push_back({name, slab, kept.back().const_data_ptr()});
    }
  }
};

void check_read(const TensorSource& source, const std::string& name, const Tensor& whole, const Hyperslab& slab) {
  const Tensor expected = part_of(whole, slab);
  const Tensor found = at::empty(expected.sizes(), expected.options());
  source.read(name, slab, found.mutable_data_ptr());
  BOOST_CHECK_MESSAGE(at::equal(found, expected), name << ": a slab differs");
}

/// The box cut at random places into so many, which together are it.
Slabs cut_at_random(const Hyperslab& box, int count, std::mt19937_64& random) {
  Slabs boxes{box};
  for (int tries = 0; static_cast<int>(boxes.size()) < count && tries < 100; tries++) {
    auto& chosen = boxes[random() % boxes.size()];
    const size_t dimension = random() % chosen.extent.size();
    if (chosen.extent[dimension] < 2) continue;
    const int64_t size = 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(chosen.extent[dimension] - 1));
    Hyperslab rest = chosen;
    rest.offset[dimension] += size, rest.extent[dimension] -= size;
    chosen.extent[dimension] = size;
    boxes.push_back(rest);
  }
  return boxes;
}

Hyperslab slab_at_random(const Sizes& shape, std::mt19937_64& random) {
  Hyperslab slab;
  int64_t numel = 1;
  for (const int64_t size : shape) {
    slab.offset.push_back(static_cast<int64_t>(random() % static_cast<uint64_t>(size)));
    slab.extent.push_back(static_cast<int64_t>(random() % static_cast<uint64_t>(size - slab.offset.back() + 1)));
    numel *= size;
  }
  if (random() % 3 > 0) return slab;
  const auto begin = static_cast<int64_t>(random() % static_cast<uint64_t>(numel));
  return Hyperslab::range(begin, begin + static_cast<int64_t>(random() % static_cast<uint64_t>(numel - begin + 1)));
}

struct Ranks {
  std::unique_ptr<Communicator> communicator = Communicator::create_cpu(runtime());
  int rank = communicator->rank(), size = communicator->size(), last = size - 1;
  SharedFolder folder{*communicator};

  /// Rank 0 calls `change` while no other rank reads or writes.
  void on_first(const std::function<void()>& change) const {
    communicator->barrier();
    if (rank == 0) change();
    communicator->barrier();
  }

  /// Columns of a matrix, of which each of `parts` has as many as the others, or one more.
  static Hyperslab columns(const Sizes& shape, int part, int parts) {
    const int64_t begin = shape[1] * part / parts, end = shape[1] * (part + 1) / parts;
    return {{0, begin}, {shape[0], end - begin}};
  }
  /// A matrix of which each rank has every second of its columns' two halves.
  Brought matrix(int64_t first = 0) const {
    Brought brought;
    brought.add("model/w", numbered({6, 10}, at::kDouble, first),
                {columns({6, 10}, rank, 2 * size), columns({6, 10}, rank + size, 2 * size)});
    return brought;
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(columns_are_read_by_any_split) {
  const Ranks ranks;
  const Tensor w = numbered({70, 601}, at::kFloat), v = numbered({2000, 1200}, at::kDouble), bias = numbered({11}, at::kHalf);
  for (const int64_t ranks_per_file : {0, 1}) {
    CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .ranks_per_file = ranks_per_file});
    Brought brought;
    const int parts = ranks.size + 1;  // also of a rank alone; rank 0 has the first and the last
    Slabs of_w{Ranks::columns({70, 601}, ranks.rank, parts)}, of_v{Ranks::columns({2000, 1200}, ranks.rank, parts)};
    if (ranks.rank == 0)
      of_w.push_back(Ranks::columns({70, 601}, parts - 1, parts)), of_v.push_back(Ranks::columns({2000, 1200}, parts - 1, parts));
    brought.add("model/w", w, of_w);
    brought.add("model/v", v, of_v);
    brought.add("model/bias", bias, ranks.rank == ranks.last ? Slabs{{{0}, {11}}} : Slabs());
    brought.state.texts = {{"loops", "{}"}};
    for (const bool in_background : {false, true}) {
      if (in_background)
        writer.save_async({.name = "a"}, brought.state), writer.finish();
      else
        writer.save({.name = "a"}, brought.state);
      for (const auto& options : {levin::CheckpointReaderOptions{}, levin::CheckpointReaderOptions{.verify_on_read = {"model/"}}}) {
        const CheckpointReader reader(ranks.folder.path / "a", *ranks.communicator, options);
        BOOST_TEST(reader.tensors().size() == 3u);
        BOOST_TEST(reader.find("model/w")->shape == (Sizes{70, 601}));
        for (const auto& [name, whole] : {std::pair("model/w", w), std::pair("model/v", v)}) {
          const auto shape = whole.sizes().vec();
          check_read(reader, name, whole, Hyperslab::range(0, whole.numel()));
          check_read(reader, name, whole, Hyperslab::range(whole.numel() / 3, whole.numel() / 3 * 2 + 5));
          check_read(reader, name, whole, {{3, 0}, {20, shape[1]}});
          check_read(reader, name, whole, {{0, 7}, {shape[0], 1}});
          check_read(reader, name, whole, {{0, 0}, {0, 4}});
          for (const int others : {1, 2, 3, parts, 7}) check_read(reader, name, whole, Ranks::columns(shape, ranks.rank % others, others));
        }
        check_read(reader, "model/bias", bias, {{2}, {5}});
      }
      ranks.communicator->barrier();
    }
  }
}

BOOST_AUTO_TEST_CASE(boxes_and_ranges_at_random) {
  const Ranks ranks;
  CheckpointWriter single(*ranks.communicator, ranks.folder.path, {.fsync = false, .write_last = false}),
      several(*ranks.communicator, ranks.folder.path, {.fsync = false, .write_last = false, .ranks_per_file = 1});
  std::mt19937_64 random(20261130);  // the same on all ranks
  for (int round = 0; round < 12; round++) {
    std::vector<std::pair<std::string, Tensor>> tensors;
    Brought brought;
    for (const Sizes& shape : std::vector<Sizes>{{}, {5}, {7, 6}, {3, 1, 5}, {4, 5, 6, 7}, {2, 3, 1, 2, 2, 1, 2, 3}, {300, 900}}) {
      const auto dtype = std::vector{at::kDouble, at::kByte, at::kFloat, at::kBFloat16}[random() % 4];
      const auto name = fmt::format("model/t{}", tensors.size());
      const Tensor whole = numbered(shape, dtype, round);
      Slabs slabs;
      // The first rows as ranges, which end within a row; the other rows as boxes.
      const int64_t rows = shape.empty() ? 0 : static_cast<int64_t>(random() % static_cast<uint64_t>(shape[0])),
                    numel = shape.empty() ? 1 : rows * (whole.numel() / shape[0]);
      if (numel > 0) {
        const auto middle = static_cast<int64_t>(random() % static_cast<uint64_t>(numel));
        slabs = {Hyperslab::range(middle, numel), Hyperslab::range(0, middle)};
      }
      if (!shape.empty()) {
        Hyperslab box{Sizes(shape.size(), 0), shape};
        box.offset[0] = rows, box.extent[0] -= rows;
        const auto boxes = cut_at_random(box, 1 + static_cast<int>(random() % 9), random);
        slabs.insert(slabs.end(), boxes.begin(), boxes.end());
      }
      Slabs mine;
      for (const auto& slab : slabs)
        if (std::cmp_equal(random() % static_cast<uint64_t>(ranks.size), ranks.rank)) mine.push_back(slab);
      brought.add(name, whole, mine);
      tensors.emplace_back(name, whole);
    }
    (round % 2 == 0 ? single : several).save({.name = "a"}, brought.state);
    const CheckpointReader reader(
        ranks.folder.path / "a", *ranks.communicator,
        round % 3 == 0 ? levin::CheckpointReaderOptions() : levin::CheckpointReaderOptions{.verify_on_read = {"model/"}});
    for (const auto& [name, whole] : tensors) {
      BOOST_TEST(reader.find(name)->shape == whole.sizes().vec());
      for (int i = 0; i < 20; i++) check_read(reader, name, whole, slab_at_random(whole.sizes().vec(), random));
      check_read(reader, name, whole, Hyperslab::range(0, whole.numel()));
    }
    ranks.communicator->barrier();
  }
}

BOOST_AUTO_TEST_CASE(contiguous_boxes_are_ranges) {
  const Ranks ranks;
  const Tensor w = numbered({12, 40}, at::kDouble);
  const int64_t begin = 12 * ranks.rank / ranks.size, end = 12 * (ranks.rank + 1) / ranks.size;
  Brought brought;
  brought.add("model/w", w, {{{begin, 0}, {end - begin, 40}}, {{0, 3}, {0, 2}}});
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false});
  const CheckpointReader reader(writer.save({.name = "a"}, brought.state).path, *ranks.communicator);
  const auto& datasets = reader.manifest().datasets;
  BOOST_REQUIRE(datasets.size() == 1u);
  BOOST_TEST(!datasets[0].part.has_value());
  BOOST_TEST(datasets[0].blocks.size() == static_cast<size_t>(ranks.size));  // one write and one checksum of each rank
  check_read(reader, "model/w", w, {{1, 2}, {10, 37}});
}

BOOST_AUTO_TEST_CASE(slabs_that_change_from_save_to_save) {
  const Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false});
  const Tensor w = numbered({6, 10}, at::kDouble);
  for (const int kind : {0, 1, 1, 2, 0, 2, 3, 3, 1}) {
    Brought brought;
    Slabs slabs;
    if (kind == 0) slabs = {Hyperslab::range(60 * ranks.rank / ranks.size, 60 * (ranks.rank + 1) / ranks.size)};
    if (kind == 1)
      slabs = {Ranks::columns({6, 10}, ranks.rank, 2 * ranks.size), Ranks::columns({6, 10}, ranks.rank + ranks.size, 2 * ranks.size)};
    if (kind == 2) slabs = {Ranks::columns({6, 10}, ranks.last - ranks.rank, ranks.size)};
    if (kind == 3 && ranks.rank == 0) slabs = {{{0, 0}, {6, 2}}, {{0, 2}, {6, 8}}};
    brought.add("model/w", w, slabs);
    const CheckpointReader reader(writer.save({.name = "a"}, brought.state).path, *ranks.communicator);
    check_read(reader, "model/w", w, {{0, 1}, {6, 3}});
    check_read(reader, "model/w", w, Hyperslab::range(0, 60));
    ranks.communicator->barrier();
  }
}

BOOST_AUTO_TEST_CASE(wrong_slabs_are_refused_and_nothing_is_left) {
  const Ranks ranks;
  const std::vector<std::byte> memory(1000);
  for (const int64_t ranks_per_file : {0, 1}) {
    CheckpointWriter writer(*ranks.communicator, ranks.folder.path,
                            {.fsync = false, .write_last = false, .ranks_per_file = ranks_per_file});
    const auto refused = [&](const auto& change, const std::vector<std::string>& parts) {
      auto brought = ranks.matrix();
      if (ranks.rank == ranks.last) change(brought.state);
      check_throws<levin::UsageError>([&] { writer.save({.name = "a"}, brought.state); }, parts);
      ranks.communicator->barrier();
      BOOST_TEST(names_in(ranks.folder.path).empty());
    };
    const auto with = [&](const Hyperslab& slab) {
      return [&memory, slab](CheckpointState& state) { state.pieces.push_back({"model/w", slab, memory.data()}); };
    };
    refused([](auto& state) { state.pieces.pop_back(); },
            {fmt::format("no rank provides elements from index [0, {}] of \"model/w\"", 10 * (2 * ranks.size - 1) / (2 * ranks.size))});
    refused([](auto& state) { state.pieces.back().slab.extent[0] = 5; },
            {fmt::format("no rank provides elements from index [5, {}] of \"model/w\"", 10 * (2 * ranks.size - 1) / (2 * ranks.size))});
    refused(with({{2, 1}, {2, 2}}), {"more than one rank writes elements from index [2, 1] of \"model/w\""});
    refused(with(Hyperslab::range(59, 60)), {"more than one rank writes elements from index [5, 9] of \"model/w\""});
    refused([](auto& state) { state.pieces.push_back(state.pieces.front()); },
            {"more than one rank writes elements at offset [0, ", "of \"model/w\""});
    for (const auto& [slab, text] :
         std::vector<std::pair<Hyperslab, std::string>>{{{{0, 8}, {6, 3}}, "invalid piece: elements at offset [0, 8] with extent [6, 3]"},
                                                        {{{1, 0}, {6, 3}}, "offset [1, 0]"},
                                                        {{{0, -1}, {6, 3}}, "offset [0, -1]"},
                                                        {{{0, 3}, {6, -1}}, "extent [6, -1]"},
                                                        {{{0, INT64_MAX}, {6, 2}}, fmt::format("offset [0, {}]", INT64_MAX)},
                                                        {{{0, INT64_MAX}, {6, INT64_MAX}}, "extent [6, "},
                                                        {{{0}, {6}}, "offset [0] with extent [6]"},
                                                        {{{0, 0, 0}, {6, 3, 1}}, "offset [0, 0, 0]"},
                                                        {{{0, 0}, {6}}, "extent [6]"},
                                                        {{{}, {}}, "offset []"}})
      refused(with(slab), {"of \"model/w\", which is 6x10 float64", text});
    refused(with({{0, 0}, {6, 3}, true}), {"invalid piece: elements", "of \"model/w\", which has 60"});
    refused(with({{58}, {3}, true}), {"invalid piece: elements [58, 61) of \"model/w\", which has 60"});
    if (ranks.size == 1)
      refused(
          [&](auto& state) {
            state.tensors.push_back({"model/deep", at::kByte, Sizes(9, 2)});
            state.pieces.push_back({"model/deep", {Sizes(9, 0), {2, 2, 2, 2, 2, 2, 2, 2, 1}}, memory.data()});
          },
          {"\"model/deep\" has 9 dimensions, boxes have at most 8", "provide ranges"});
    const auto good = ranks.matrix(7);
    const CheckpointReader reader(writer.save({.name = "a"}, good.state).path, *ranks.communicator);
    std::vector<double> values(60);
    for (const Hyperslab& slab : Slabs{{{0, 8}, {6, 3}},
                                       {{0, -1}, {6, 3}},
                                       {{0, INT64_MAX}, {6, 2}},
                                       {{0}, {6}},
                                       {{0, 0, 0}, {1, 1, 1}},
                                       {{60}, {1}, true},
                                       {{}, {}}})
      check_throws<DataError>([&] { reader.read("model/w", slab, values.data()); }, {"of \"model/w\" requested, it has"});
    check_throws<DataError>([&] { reader.read("model/none", Hyperslab{{0, 0}, {1, 1}}, values.data()); }, {"has no tensor \"model/none\""});
    ranks.on_first([&] { fs::remove_all(ranks.folder.path / "a"); });
  }
}

BOOST_AUTO_TEST_CASE(a_corrupt_box_is_named) {
  const Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false});
  const auto brought = ranks.matrix();
  const auto path = writer.save({.name = "a"}, brought.state).path;
  const auto manifest = Manifest::read(path);
  BOOST_TEST(manifest.datasets.size() == 2u * static_cast<size_t>(ranks.size));
  for (const auto& set : manifest.datasets) {
    ranks.on_first([&] { flip(path / "state.h5", (set.offset + set.bytes - 1) * 8 + 1); });
    check_throws<DataError>([&] { CheckpointReader(path, *ranks.communicator); }, {"\"model/w\" is corrupt"});
    const CheckpointReader reader(path, *ranks.communicator, {.verify_on_read = {"model/"}});
    std::vector<double> values(60);
    for (const Hyperslab& slab : Slabs{Hyperslab::range(0, 60), {{1, 0}, {2, 10}}, set.part->slab, {{0, set.part->slab.offset[1]}, {3, 1}}})
      check_throws<DataError>([&] { reader.read("model/w", slab, values.data()); }, {"\"model/w\" is corrupt"});
    ranks.on_first([&] { flip(path / "state.h5", (set.offset + set.bytes - 1) * 8 + 1); });
  }
  // A manifest is refused before a file that it names is opened.
  ranks.on_first([&] {
    auto hostile = manifest;
    hostile.datasets.back().part->slab.extent[1] = INT64_MAX;
    write_bytes(path / Manifest::file_name, hostile.to_text());
    fs::remove(path / "state.h5");
  });
  check_throws<DataError>(
      [&] { CheckpointReader(path, *ranks.communicator); },
      {"manifest.json has elements at offset [0, ", fmt::format("{}] of \"model/w\", whose shape is [6, 10]", INT64_MAX)});
  ranks.communicator->barrier();
}

BOOST_AUTO_TEST_CASE(h5py_reads_boxes) {
  const Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false});
  const auto brought = ranks.matrix();
  const auto path = writer.save({.name = "a"}, brought.state).path;
  if (ranks.rank == 0) {
    const std::string tests = LEVIN_TESTS;
    const auto text =
        output_of("'" + tests + "/../tools/tests-python' '" + tests + "/checkpoint/read_h5py.py' '" + (path / "state.h5").string() + "'");
    for (int part = 0; part < 2 * ranks.size; part++) {
      const auto slab = Ranks::columns({6, 10}, part, 2 * ranks.size);
      const int64_t begin = slab.offset[1], count = slab.extent[1];
      const auto line = fmt::format("model/w/0-6,{}-{} float64 (6, {}) {}", begin, begin + count, count, begin);
      BOOST_CHECK_MESSAGE(text.find(line) != std::string::npos, "\"" << line << "\" is not in: " << text);
    }
  }
  ranks.communicator->barrier();
}

BOOST_AUTO_TEST_CASE(boxes_of_safetensors) {
  const Ranks ranks;
  const auto file = ranks.folder.path / "a.safetensors";
  const Tensor w = numbered({90, 70, 11}, at::kFloat);
  if (ranks.rank == 0)
    levin::write_safetensors(file, {{"w", at::kFloat, {90, 70, 11}}}, {}, [&](size_t, int64_t begin, int64_t end, void* memory) {
      std::memcpy(memory, w.const_data_ptr<float>() + begin, static_cast<size_t>(end - begin) * sizeof(float));
    });
  ranks.communicator->barrier();
  const levin::SafetensorsReader reader(file, *ranks.communicator);
  std::mt19937_64 random(7);
  for (int i = 0; i < 50; i++) check_read(reader, "w", w, slab_at_random({90, 70, 11}, random));
  float value = 0;
  check_throws<DataError>(
      [&] {
        reader.read("w", Hyperslab{{0, 0, 11}, {1, 1, 1}}, &value);
      },
      {"of \"w\" requested, it has the shape [90, 70, 11]"});
}

BOOST_AUTO_TEST_SUITE_END()
