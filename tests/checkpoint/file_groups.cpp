// Checkpoints of several files: one for each group of nodes, or of ranks.
#include <ATen/ops/full.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "checkpoint_sample.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "test_paths.h"

using namespace levin::test;
using levin::CheckpointReader;
using levin::CheckpointState;
using levin::CheckpointWriter;
using levin::CheckpointWriterOptions;
using levin::Communicator;
using levin::DataError;
using levin::Manifest;
using Names = std::vector<std::string>;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(checkpoint_file_groups)

namespace {

struct Ranks {
  std::unique_ptr<Communicator> communicator = Communicator::create_cpu(runtime());
  int rank = communicator->rank(), size = communicator->size();
  SharedFolder folder{*communicator};

  fs::path save(const std::string& name, int64_t step, const CheckpointWriterOptions& options) const {
    CheckpointWriter writer(*communicator, folder.path, options);
    const auto path = writer.save({.name = name, .step = step}, Sample(step, rank, size).state).path;
    communicator->barrier();
    return path;
  }
  /// Rank 0 does something to the files.
  template <class Change>
  void change(const Change& edit) const {
    communicator->barrier();
    if (rank == 0) edit();
    communicator->barrier();
  }
  void refused(const fs::path& path, const Names& parts) const {
    check_throws<DataError>([&] { CheckpointReader(path, *communicator); }, parts);
    if (rank == 0) check_throws<DataError>([&] { CheckpointReader{path}; }, parts);
  }
  /// The first ranks of the hosts.
  std::vector<int> leaders() const {
    const auto all = at::full({size}, 0, at::kLong);
    communicator->all_gather(all, at::full({1}, communicator->node()->rank() == 0 ? 1 : 0, at::kLong)).wait();
    std::vector<int> found;
    for (int i = 0; i < size; i++)
      if (all[i].item<int64_t>() == 1) found.push_back(i);
    return found;
  }
};

Names files_of(size_t count) {
  Names names{"manifest.json"};
  for (size_t i = 0; i < count; i++) names.push_back(Manifest::state_file(i, count));
  return names;
}

// Where a rank's elements of a Sample begin.
int64_t cut(int64_t numel, int rank, int ranks) { return numel * rank * (rank + 1) / (static_cast<int64_t>(ranks) * (ranks + 1)); }

}  // namespace

BOOST_AUTO_TEST_CASE(a_file_for_each_node) {
  Ranks ranks;
  const auto leaders = ranks.leaders();
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .nodes_per_file = 1});
  for (const int64_t step : {1, 2, 13}) {
    const Sample sample(step, ranks.rank, ranks.size);
    if (step == 2)
      writer.save_async({.name = "a", .step = step}, sample.state);
    else
      writer.save({.name = "a", .step = step}, sample.state);
    writer.finish();
    const CheckpointReader reader(ranks.folder.path / "a", *ranks.communicator);
    BOOST_TEST(reader.manifest().files.size() == leaders.size());
    BOOST_TEST(names_in(reader.path()) == files_of(leaders.size()));
    check_sample(reader, step, ranks.rank, ranks.size);
    check_sample(reader, step, 0, 1);
    check_sample(reader, step, ranks.rank % 4, 4);
    ranks.communicator->barrier();
  }
  // A node's ranks have written into their file, and into no other.
  const auto manifest = Manifest::read(ranks.folder.path / "a");
  for (size_t file = 0; file < leaders.size(); file++) {
    const int next = file + 1 < leaders.size() ? leaders[file + 1] : ranks.size;
    const int64_t begin = cut(100000, leaders[file], ranks.size), end = cut(100000, next, ranks.size);
    int found = 0;
    for (const auto& set : manifest.datasets) {
      if (set.name != "model/größer" || set.file != file) continue;
      found++;
      BOOST_TEST(set.part.has_value() == (leaders.size() > 1));
      if (set.part) BOOST_TEST((set.part->slab == levin::Hyperslab::range(begin, end)));
      BOOST_TEST(set.bytes == static_cast<uint64_t>(end - begin) * 4);
    }
    BOOST_TEST(found == (begin < end ? 1 : 0));
  }
}

BOOST_AUTO_TEST_CASE(all_nodes_in_one_group_is_one_file) {
  const Ranks ranks;
  const auto single = ranks.save("one", 3, {.fsync = false});
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // it contains no time
  const auto grouped = ranks.save("grouped", 3, {.fsync = false, .nodes_per_file = 100});
  BOOST_TEST(names_in(grouped) == files_of(1));
  BOOST_TEST((bytes_of(single / "state.h5") == bytes_of(grouped / "state.h5")));
  BOOST_TEST(bytes_of(grouped / "manifest.json").find("\"version\":3") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(other_numbers_of_ranks_read_it) {
  const Ranks ranks;
  for (const int64_t each : {1, 2}) {
    const auto path = ranks.save("a", each, {.ranks_per_file = each});
    BOOST_TEST(Manifest::read(path).files.size() == static_cast<size_t>((ranks.size + each - 1) / each));
    for (int fewer = 1; fewer <= ranks.size; fewer++) {
      const auto some = ranks.communicator->split(ranks.rank < fewer ? 0 : 1, ranks.rank);
      check_sample(CheckpointReader(path, *some), each, some->rank(), some->size());
      check_sample(CheckpointReader(path, *some, {.verify_on_read = {"model/"}}), each, some->size() - 1 - some->rank(), some->size());
    }
    ranks.communicator->barrier();
  }
}

BOOST_AUTO_TEST_CASE(pieces_that_change_from_save_to_save) {
  const Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .ranks_per_file = 1});
  writer.save({.name = "nothing"}, {});
  BOOST_TEST(CheckpointReader(ranks.folder.path / "nothing", *ranks.communicator).tensors().empty());
  for (const int shift : {0, 1, 1, 0}) {  // whose pieces a rank has
    const int as = (ranks.rank + shift) % ranks.size;
    writer.save({.name = "a", .step = 5}, Sample(5, as, ranks.size).state);
    check_sample(CheckpointReader(ranks.folder.path / "a", *ranks.communicator), 5, ranks.rank, ranks.size);
  }
}

BOOST_AUTO_TEST_CASE(h5py_reads_every_file) {
  const Ranks ranks;
  const auto path = ranks.save("a", 3, {.ranks_per_file = 1});
  if (ranks.rank == 0) {
    const std::string tests = LEVIN_TESTS;
    for (int i = 0; i < ranks.size; i++) {
      const auto file = path / Manifest::state_file(static_cast<size_t>(i), static_cast<size_t>(ranks.size));
      const auto text = output_of("'" + tests + "/../tools/tests-python' '" + tests + "/checkpoint/read_h5py.py' '" + file.string() + "'");
      const int64_t begin = cut(70 * 101, i, ranks.size), end = cut(70 * 101, i + 1, ranks.size);
      const auto line = ranks.size == 1
                            ? std::string("model/deep/er/weight float64 (70, 101) 93")
                            : fmt::format("model/deep/er/weight/{}-{} float64 ({},) {}", begin, end, end - begin, (begin * 7 + 93) % 101);
      if (begin < end) BOOST_CHECK_MESSAGE(text.find(line) != std::string::npos, "\"" << line << "\" is not in: " << text);
      BOOST_TEST((text.find("loops text {\"step\": 3}") != std::string::npos) == (i == 0));
    }
  }
  ranks.communicator->barrier();
}

BOOST_AUTO_TEST_CASE(files_that_are_corrupt_missing_or_moved) {
  const Ranks ranks;
  const auto path = ranks.save("a", 1, {.ranks_per_file = 1});
  const auto manifest = Manifest::read(path);
  const auto name_of = [&](size_t file) { return (path / manifest.files[file].name).string(); };
  for (const auto& set : manifest.datasets) {
    if (set.bytes == 0) continue;
    const uint64_t bit = (set.offset + set.bytes - 1) * 8 + 5;
    ranks.change([&] { flip(name_of(set.file), bit); });
    ranks.refused(path, {"[checkpoint]", name_of(set.file) + ": \"" + set.name + "\" is corrupt", "use another checkpoint"});
    ranks.change([&] { flip(name_of(set.file), bit); });
  }
  const auto aside = ranks.folder.path / "aside";
  for (size_t file = 0; file < manifest.files.size(); file++) {
    const auto name = name_of(file);
    ranks.change([&] { flip(name, 8 * 8); });
    ranks.refused(path, {name + ": metadata is corrupt"});
    ranks.change([&] { flip(name, 8 * 8), fs::rename(name, aside); });
    ranks.refused(path, {name + " is missing"});
    BOOST_TEST(!levin::newest_checkpoint(ranks.folder.path, *ranks.communicator).reader);
    ranks.change([&] { fs::create_symlink(aside, name); });
    ranks.refused(path, {name + " is a symbolic link"});
    ranks.change([&] { fs::remove(name), fs::copy_file(aside, name), fs::resize_file(name, manifest.files[file].bytes - 1); });
    ranks.refused(path, {name, "its manifest says", "truncated"});
    ranks.change([&] { fs::remove(name), fs::rename(aside, name); });
  }
  check_sample(CheckpointReader(path, *ranks.communicator), 1, ranks.rank, ranks.size);
  if (manifest.files.size() > 1) {  // each is whole, and not what the manifest says
    ranks.change([&] { fs::copy_file(name_of(0), name_of(1), fs::copy_options::overwrite_existing); });
    ranks.refused(path, {name_of(1)});
  }
}

BOOST_AUTO_TEST_CASE(elements_of_no_rank_and_of_two) {
  const Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .write_last = false, .ranks_per_file = 1});
  const Sample sample(2, ranks.rank, ranks.size);
  const auto refused = [&](const auto& change, const std::string& why) {
    auto state = sample.state;
    if (ranks.rank == ranks.size - 1) change(state);
    check_throws<levin::UsageError>([&] { writer.save({.name = "a", .step = 2}, state); }, {"[checkpoint]", why});
    ranks.communicator->barrier();
    BOOST_TEST(names_in(ranks.folder.path).empty());
  };
  refused([](auto& state) { state.pieces.erase(state.pieces.begin()); }, "no rank provides elements");
  const std::vector<std::byte> memory(5056);
  refused(
      [&](auto& state) {
        state.pieces.push_back({"rng/state", levin::Hyperslab::range(0, 5056), memory.data()});
      },
      "more than one rank writes elements");
  refused([](auto& state) { state.pieces[0].name = "unknown"; }, "invalid piece: unknown tensor \"unknown\"");
  writer.save({.name = "a", .step = 2}, sample.state);
  check_sample(CheckpointReader(ranks.folder.path / "a", *ranks.communicator), 2, ranks.rank, ranks.size);
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_written_leaves_nothing) {
  const Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .write_last = false, .ranks_per_file = 1});
  const Sample sample(2, ranks.rank, ranks.size);
  for (const int bad : {0, ranks.size - 1}) {
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit small{2000, before.rlim_max};
    if (ranks.rank == bad) setrlimit(RLIMIT_FSIZE, &small);
    const auto prefix = ranks.size == 1 ? std::string() : fmt::format("rank {} (", bad);
    check_throws<levin::IoError>([&] { writer.save({.name = "a", .step = 2}, sample.state); }, {"[checkpoint]", prefix, "File too large"});
    setrlimit(RLIMIT_FSIZE, &before);
    ranks.communicator->barrier();
    BOOST_TEST(names_in(ranks.folder.path).empty());
  }
  writer.save({.name = "a", .step = 2}, sample.state);
  check_sample(CheckpointReader(ranks.folder.path / "a", *ranks.communicator), 2, ranks.rank, ranks.size);
}

BOOST_AUTO_TEST_CASE(leftovers_of_living_and_dead_jobs) {
  const Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .ranks_per_file = 1});
  const Sample sample(7, ranks.rank, ranks.size, 1000000);
  writer.save_async({.name = "a", .step = 7}, sample.state);
  BOOST_TEST(levin::remove_leftovers(ranks.folder.path).empty());
  BOOST_TEST(writer.finish().has_value());
  ranks.change([&] {
    const auto dead = ranks.folder.path / ".b.partial-1-0";
    fs::create_directory(dead);
    write_bytes(dead / "state.0.h5", "half");
    BOOST_TEST(levin::remove_leftovers(ranks.folder.path) == Names{".b.partial-1-0"});
    levin::remove_checkpoint(ranks.folder.path / "a");
    BOOST_TEST(names_in(ranks.folder.path) == Names{"last"});
  });
}

BOOST_AUTO_TEST_CASE(numbers_that_cannot_be) {
  const Ranks ranks;
  for (const auto& [nodes, of_ranks] : {std::pair(-1, 0), std::pair(0, -1), std::pair(1, 1)})
    check_throws<levin::UsageError>(
        [&] { CheckpointWriter(*ranks.communicator, ranks.folder.path, {.nodes_per_file = nodes, .ranks_per_file = of_ranks}); },
        {fmt::format("nodes_per_file {} and ranks_per_file {} exclude each other", nodes, of_ranks), "set one of them to 0"});
}

BOOST_AUTO_TEST_SUITE_END()
