#include "levin/checkpoint/checkpoint_writer.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "checkpoint_sample.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "test_paths.h"

using namespace levin::test;
using levin::CheckpointReader;
using levin::CheckpointState;
using levin::CheckpointWriter;
using levin::Communicator;
using levin::IoError;
using levin::UsageError;
using Names = std::vector<std::string>;

BOOST_AUTO_TEST_SUITE(checkpoint_writer)

namespace {

struct Ranks {
  std::unique_ptr<Communicator> communicator = Communicator::create_cpu(runtime());
  int rank = communicator->rank(), size = communicator->size(), last = size - 1;
  SharedFolder folder{*communicator};

  // What a message says of the rank that brings it; a rank alone says nothing of itself.
  std::string of_rank(int which) const { return size == 1 ? "[checkpoint] " : fmt::format("[checkpoint] rank {} (", which); }
  CheckpointState state(int64_t step) { return samples.emplace_back(step, rank, size).state; }
  std::vector<Sample> samples;
};

void check(const Ranks& ranks, const std::string& name, int64_t step) {
  check_sample(CheckpointReader(ranks.folder.path / name, *ranks.communicator), step, ranks.rank, ranks.size);
}

}  // namespace

BOOST_AUTO_TEST_CASE(saved_values_are_read_back) {
  Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path);
  for (const int64_t step : {1, 2, 13}) {
    const Sample sample(step, ranks.rank, ranks.size);
    const auto report =
        writer.save({.name = fmt::format("step={}", step), .step = step, .epoch = 2, .fields = {{"val_loss", "0.5"}}}, sample.state);
    BOOST_TEST(report.path == ranks.folder.path / fmt::format("step={}", step));
    BOOST_TEST(report.bytes == std::filesystem::file_size(report.path / "state.h5"));
    const CheckpointReader reader(report.path, *ranks.communicator);
    check_sample(reader, step, ranks.rank, ranks.size);
    check_sample(reader, step, 0, 1);
    BOOST_TEST(reader.manifest().step == step);
    BOOST_TEST(reader.manifest().epoch == 2);
    BOOST_TEST(reader.manifest().fields.at("val_loss") == "0.5");
    ranks.communicator->barrier();
    BOOST_TEST(names_in(report.path) == (Names{"manifest.json", "state.h5"}));
    BOOST_TEST(levin::read_last(ranks.folder.path).value() == report.path);
  }
  BOOST_TEST(names_in(ranks.folder.path) == (Names{"last", "step=1", "step=13", "step=2"}));
}

BOOST_AUTO_TEST_CASE(h5py_reads_names_shapes_types_and_values) {
  Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false});
  const auto report = writer.save({.name = "a", .step = 3}, Sample(3, ranks.rank, ranks.size, 10).state);
  if (ranks.rank == 0) {
    const std::string tests = LEVIN_TESTS;
    const auto text =
        output_of("'" + tests + "/../tools/tests-python' '" + tests + "/checkpoint/read_h5py.py' '" + report.path.string() + "/state.h5'");
    for (const auto& line : std::vector<std::string>{
             "model/conv1.bias float32 (8,) 93 100 6 13 20 27 34 41\n",
             "model/bfloat16 float32 (7, 9) 93 100 6 13 ",
             "model/half float16 (33,) 93 100 6 13 ",
             "model/deep/er/weight float64 (70, 101) 93 100 6 13 ",
             "model/größer float32 (10,) 93 100 6 13 ",
             "counts/int64 int64 () 93\n",
             "counts/int32 int32 (5,) 93 100 6 13 20\n",
             "counts/int16 int16 (2, 2) 93 100 6 13\n",
             "counts/int8 int8 (3,) 93 100 6\n",
             "rng/state uint8 (5056,) 93 100 6 13 ",
             "mask bool (3, 5) True False True False ",
             "nothing float32 (4, 0, 2)\n",
             "loops text {\"step\": 3}\n",
             "config/trainer text " + std::string(120, 'x') + "ü\n",
         })
      BOOST_CHECK_MESSAGE(text.find(line) != std::string::npos, "\"" << line << "\" is not in: " << text);
  }
  ranks.communicator->barrier();
}

// Where ranks write side by side into mappings.
BOOST_AUTO_TEST_CASE(on_tmpfs) {
  Ranks ranks;
  const SharedFolder memory(*ranks.communicator, "/dev/shm");
  CheckpointWriter writer(*ranks.communicator, memory.path);
  for (const int64_t step : {1, 2}) {
    writer.save({.name = "a", .step = step}, Sample(step, ranks.rank, ranks.size, 3000000).state);
    check_sample(CheckpointReader(memory.path / "a", *ranks.communicator), step, ranks.rank, ranks.size, 3000000);
  }
}

BOOST_AUTO_TEST_CASE(alignment_of_large_tensors) {
  Ranks ranks;
  for (const uint64_t alignment : {uint64_t{4096}, uint64_t{65536}, uint64_t{1} << 20}) {
    CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .alignment = alignment});
    for (const int64_t step : {1, 2}) writer.save({.name = "a", .step = step}, ranks.state(step));
    const CheckpointReader reader(ranks.folder.path / "a", *ranks.communicator);
    check_sample(reader, 2, ranks.rank, ranks.size);
    int large = 0;
    for (const auto& set : reader.manifest().datasets) {
      if (set.bytes < alignment) continue;
      large++;
      BOOST_TEST(set.offset % alignment == 0u, set.name);
    }
    BOOST_TEST((large > 0) == (alignment <= 65536));
  }
  for (const uint64_t alignment : {0, 512, 5000})
    check_throws<UsageError>([&] { CheckpointWriter(*ranks.communicator, ranks.folder.path, {.alignment = alignment}); },
                             {fmt::format("alignment is {} bytes", alignment), "power of two"});
}

BOOST_AUTO_TEST_CASE(a_state_of_another_form_and_none_at_all) {
  Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .write_last = false});
  for (const int64_t extra : {10, 3000000, 0}) {
    writer.save({.name = "a", .step = 1}, Sample(1, ranks.rank, ranks.size, extra).state);  // each takes the place of the one before
    check_sample(CheckpointReader(ranks.folder.path / "a", *ranks.communicator), 1, ranks.rank, ranks.size, extra);
  }
  writer.save({.name = "b"}, {});
  BOOST_TEST(CheckpointReader(ranks.folder.path / "b", *ranks.communicator).tensors().empty());
  ranks.communicator->barrier();
  BOOST_TEST(names_in(ranks.folder.path) == (Names{"a", "b"}));
}

BOOST_AUTO_TEST_CASE(a_name_that_is_taken_is_taken_over) {
  Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false});
  if (ranks.rank == 0) {
    std::filesystem::create_directories(ranks.folder.path / "a" / "something");
    write_bytes(ranks.folder.path / "b", "a file");
    std::filesystem::create_symlink("/etc", ranks.folder.path / "c");
  }
  ranks.communicator->barrier();
  for (const std::string name : {"a", "b", "c"}) {
    writer.save({.name = name, .step = 5}, ranks.state(5));
    check(ranks, name, 5);
  }
  ranks.communicator->barrier();
  BOOST_TEST(names_in(ranks.folder.path) == (Names{"a", "b", "c", "last"}));
}

BOOST_AUTO_TEST_CASE(an_invalid_state_is_an_error_and_leaves_nothing) {
  Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .write_last = false});
  writer.save({.name = "good", .step = 1}, ranks.state(1));
  const auto refused = [&](const std::string& name, const CheckpointState& state, int rank, const std::string& why) {
    check_throws<UsageError>([&] { writer.save({.name = name, .step = 2}, state); }, {ranks.of_rank(rank), why});
    ranks.communicator->barrier();
    BOOST_TEST(names_in(ranks.folder.path) == Names{"good"});
  };
  for (const std::string name : {"", ".hidden", "a/b", "..", "last", "a\nb"}) refused(name, ranks.state(2), 0, "invalid checkpoint name");

  const auto with = [&](auto change) {
    auto state = ranks.state(2);
    change(state);
    return state;
  };
  // On all ranks.
  for (const std::string name : {"", "/a", "a/", "a//b", "a/../b", ".", "a\nb", "a\xff"})
    refused("a", with([&](auto& state) { state.tensors[0].name = name; }), 0, "is not a valid name");
  refused("a", with([](auto& state) { state.tensors[1].name = state.tensors[0].name; }), 0, "\"model/conv1.weight\" is a duplicate name");
  refused("a", with([](auto& state) { state.tensors[1].name = "model"; }), 0, "\"model\" is both a tensor or text and a group");
  refused("a", with([](auto& state) { state.texts[1].name = "loops"; }), 0, "\"loops\" is a duplicate name");
  refused("a", with([](auto& state) { state.texts[0].text = std::string("a\0b", 3); }), 0, "\"loops\" has a zero byte");
  refused("a", with([](auto& state) { state.tensors[0].dtype = at::kComplexFloat; }), 0, "ComplexFloat, which checkpoints do not support");
  refused("a", with([](auto& state) { state.tensors[0].shape = {-1}; }), 0, "a negative size");
  refused("a", with([](auto& state) { state.tensors[0].shape = {int64_t{1} << 40, int64_t{1} << 40}; }), 0, "a size that overflows");

  // On the last rank.
  const auto on_last = [&](auto change) {
    return with([&](auto& state) {
      if (ranks.rank == ranks.last) change(state);
    });
  };
  refused("a", on_last([](auto& state) { state.pieces[0].name = "model/conv1"; }), ranks.last,
          "invalid piece: unknown tensor \"model/conv1\"");
  refused("a", on_last([](auto& state) { state.pieces[1].slab.extent[0] = 601 - state.pieces[1].slab.offset[0]; }), ranks.last,
          "\"model/conv1.weight\", which has 600");
  refused("a", on_last([](auto& state) { state.pieces[1].slab.offset[0] = -1; }), ranks.last, "invalid piece: elements [-1, ");
  if (ranks.size > 1) {
    refused("a", on_last([](auto& state) { state.tensors[0].shape = {600}; }), ranks.last,
            "the tensors differ from rank 0's: rank 0 has \"model/conv1.weight 6 8 3 5 5\", this rank \"model/conv1.weight 6 600\"");
    refused("a", on_last([](auto& state) { state.tensors.pop_back(); }), ranks.last, ", this rank nothing");
  }
  // Found out by rank 0, when all is written.
  refused("a", on_last([](auto& state) { state.pieces.erase(state.pieces.begin()); }), 0, "no rank provides");
  refused("a", on_last([](auto& state) {
            state.pieces.push_back({"rng/state", levin::Hyperslab::range(5000, 5056), state.pieces[0].data});
          }),
          0, "more than one rank writes elements [5000, 5056) of \"rng/state\"");

  writer.save({.name = "good", .step = 3}, ranks.state(3));
  check(ranks, "good", 3);
}

BOOST_AUTO_TEST_CASE(a_file_that_may_not_grow_on_one_rank) {
  Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .write_last = false});
  for (const int bad : {0, ranks.last}) {
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit small{200000, before.rlim_max};
    if (ranks.rank == bad) setrlimit(RLIMIT_FSIZE, &small);  // SIGXFSZ would end the process
    check_throws<IoError>([&] { writer.save({.name = "a", .step = 1}, ranks.state(1)); },
                          {ranks.of_rank(bad), "File too large", "ulimit -f"});
    setrlimit(RLIMIT_FSIZE, &before);
    ranks.communicator->barrier();
    BOOST_TEST(names_in(ranks.folder.path).empty());
  }
  writer.save({.name = "a", .step = 2}, ranks.state(2));
  check(ranks, "a", 2);
}

BOOST_AUTO_TEST_CASE(a_folder_that_is_removed_is_made_again) {
  Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path / "deep" / "er", {.fsync = false});
  writer.save({.name = "a", .step = 1}, ranks.state(1));
  ranks.communicator->barrier();
  if (ranks.rank == 0) std::filesystem::remove_all(ranks.folder.path / "deep");
  ranks.communicator->barrier();
  writer.save({.name = "b", .step = 2}, ranks.state(2));
  check(ranks, "deep/er/b", 2);
}

BOOST_AUTO_TEST_CASE(a_folder_that_cannot_be_made_is_known_at_once) {
  Ranks ranks;
  check_throws<IoError>([&] { CheckpointWriter(*ranks.communicator, "/proc/none"); },
                        {ranks.of_rank(0), "/proc/none", "save to a writable directory"});
  if (ranks.rank == 0) write_bytes(ranks.folder.path / "file", "no folder");
  ranks.communicator->barrier();
  check_throws<IoError>([&] { CheckpointWriter(*ranks.communicator, ranks.folder.path / "file"); }, {ranks.of_rank(0), "file"});
}

BOOST_AUTO_TEST_CASE(modes_follow_the_umask_and_the_world_never_writes) {
  Ranks ranks;
  for (const auto& [mask, file_mode, folder_mode] : {std::tuple(0000, 0664, 0775), std::tuple(0077, 0600, 0700)}) {
    const auto before = umask(static_cast<mode_t>(mask));
    CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false});
    const auto path = writer.save({.name = "a"}, ranks.state(1)).path;
    umask(before);
    const auto mode_of = [](const std::filesystem::path& file) { return static_cast<int>(std::filesystem::status(file).permissions()); };
    BOOST_TEST(mode_of(path) == folder_mode);
    for (const auto& file : {path / "state.h5", path / "manifest.json", ranks.folder.path / "last"}) BOOST_TEST(mode_of(file) == file_mode);
    ranks.communicator->barrier();
  }
}

BOOST_AUTO_TEST_SUITE_END()
