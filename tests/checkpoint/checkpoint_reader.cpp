#include "levin/checkpoint/checkpoint_reader.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "checkpoint_sample.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using levin::CheckpointReader;
using levin::CheckpointWriter;
using levin::Communicator;
using levin::DataError;
using levin::Manifest;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(checkpoint_reader)

namespace {

/// A folder with checkpoints of all ranks.
struct Saved {
  std::unique_ptr<Communicator> communicator = Communicator::create_cpu(runtime());
  int rank = communicator->rank(), size = communicator->size();
  SharedFolder folder{*communicator};
  fs::path path;

  explicit Saved(std::initializer_list<int64_t> steps = {1}, int64_t extra = 100000) {
    CheckpointWriter writer(*communicator, folder.path, {.fsync = false});
    for (const int64_t step : steps)
      path = writer.save({.name = "step=" + std::to_string(step), .step = step}, Sample(step, rank, size, extra).state).path;
    communicator->barrier();
  }
  /// Rank 0 does something to the files.
  template <class Change>
  void change(const Change& edit) {
    communicator->barrier();
    if (rank == 0) edit();
    communicator->barrier();
  }
  void refused(const std::vector<std::string>& parts) {
    check_throws<DataError>([&] { CheckpointReader(path, *communicator); }, parts);
    if (rank == 0) check_throws<DataError>([&] { CheckpointReader{path}; }, parts);
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(fewer_ranks_read_what_more_wrote) {
  Saved saved;
  for (int fewer = 1; fewer <= saved.size; fewer++) {
    const auto some = saved.communicator->split(saved.rank < fewer ? 0 : 1, saved.rank);
    check_sample(CheckpointReader(saved.path, *some), 1, some->rank(), some->size());
    check_sample(CheckpointReader(saved.path, *some), 1, some->size() - 1 - some->rank(), some->size());
  }
  check_sample(CheckpointReader(saved.path), 1, 0, 1);
}

BOOST_AUTO_TEST_CASE(more_ranks_read_what_fewer_wrote) {
  Saved saved({});
  const auto alone = saved.communicator->split(saved.rank, 0);
  if (saved.rank == 0) CheckpointWriter(*alone, saved.folder.path).save({.name = "a", .step = 4}, Sample(4, 0, 1).state);
  saved.communicator->barrier();
  check_sample(CheckpointReader(saved.folder.path / "a", *saved.communicator), 4, saved.rank, saved.size);
}

BOOST_AUTO_TEST_CASE(missing_tensors_cannot_be_read) {
  Saved saved;
  const CheckpointReader reader(saved.path, *saved.communicator);
  std::vector<std::byte> memory(1000);
  BOOST_TEST(!reader.find("model"));
  check_throws<DataError>([&] { reader.read("model/none", 0, 1, memory.data()); }, {"has no tensor \"model/none\""});
  for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{{-1, 1}, {0, 9}, {5, 4}, {INT64_MIN, INT64_MAX}})
    check_throws<DataError>([&] { reader.read("model/conv1.bias", begin, end, memory.data()); },
                            {"of \"model/conv1.bias\" requested, it has 8"});
}

BOOST_AUTO_TEST_CASE(a_flipped_bit_is_named) {
  Saved saved;
  const auto manifest = CheckpointReader(saved.path).manifest();
  const auto file = saved.path / "state.h5";
  const auto flip_at = [&](uint64_t byte) { saved.change([&] { flip(file, byte * 8 + byte % 8); }); };
  for (const auto& set : manifest.datasets) {
    if (set.bytes == 0) continue;
    for (const uint64_t byte : {set.offset, set.offset + set.bytes / 2, set.offset + set.bytes - 1}) {
      flip_at(byte);
      saved.refused({"[checkpoint]", file.string(), "\"" + set.name + "\" is corrupt", "use another checkpoint"});
      flip_at(byte);
    }
  }
  for (const uint64_t byte : {uint64_t{0}, uint64_t{8}, manifest.datasets.back().offset + manifest.datasets.back().bytes}) {
    if (byte >= manifest.file_bytes()) continue;
    flip_at(byte);
    saved.refused({"metadata is corrupt"});
    flip_at(byte);
  }
  check_sample(CheckpointReader(saved.path, *saved.communicator), 1, saved.rank, saved.size);
}

// `levin_tests --run_test=checkpoint_reader/any_flipped_bit_is_noticed -- 1000` takes longer.
BOOST_AUTO_TEST_CASE(any_flipped_bit_is_noticed) {
  Saved saved({1}, 1000);
  const auto manifest = CheckpointReader(saved.path).manifest();
  std::mt19937_64 random(20260229);
  for (int round = 0, all = rounds(); round < all; round++) {
    // Every third in what HDF5 wrote: its share of the bytes is small.
    const auto file = saved.path / (round % 10 == 9 ? "manifest.json" : "state.h5");
    uint64_t byte = random() % fs::file_size(file);
    if (round % 3 == 0 && round % 10 != 9) {
      const auto inside = [&](const auto& set) { return byte >= set.offset && byte < set.offset + set.bytes; };
      while (std::any_of(manifest.datasets.begin(), manifest.datasets.end(), inside)) byte = random() % fs::file_size(file);
    }
    const uint64_t bit = byte * 8 + random() % 8;
    saved.change([&] { flip(file, bit); });
    saved.refused({"is corrupt", file.string()});
    saved.change([&] { flip(file, bit); });
  }
}

BOOST_AUTO_TEST_CASE(reading_verifies_checksums) {
  Saved saved({1}, 3000000);  // of several blocks
  const levin::CheckpointReaderOptions later{.verify_on_read = {"model/", "optimizer/"}};
  const auto manifest = CheckpointReader(saved.path).manifest();
  for (const int ranks : {saved.size, 4})  // pieces that begin where blocks do, and others
    check_sample(CheckpointReader(saved.path, *saved.communicator, later), 1, saved.rank % ranks, ranks, 3000000);
  const auto file = saved.path / "state.h5";
  int read_later = 0;
  for (const auto& set : manifest.datasets) {
    if (set.bytes == 0) continue;
    for (const uint64_t byte : {set.offset, set.offset + set.bytes - 1}) {
      saved.change([&] { flip(file, byte * 8 + 3); });
      const std::vector<std::string> parts{"\"" + set.name + "\" is corrupt", file.string(), "use another checkpoint"};
      if (!set.name.starts_with("model/") && !set.name.starts_with("optimizer/")) {
        check_throws<DataError>([&] { CheckpointReader(saved.path, *saved.communicator, later); }, parts);
      } else {
        read_later++;
        const CheckpointReader reader(saved.path, *saved.communicator, later);
        const auto elements = reader.find(set.name)->numel();
        const auto element_bytes = static_cast<int64_t>(set.bytes) / elements;
        std::vector<std::byte> memory(set.bytes);
        // The rank that reads it reports to the others; any element of its block is as bad.
        check_throws<DataError>(
            [&] {
              reader.together([&] {
                if (saved.rank == saved.size - 1) reader.read(set.name, 0, elements, memory.data());
              });
            },
            parts);
        uint64_t block = set.offset;
        for (size_t i = 0; block + set.blocks[i].bytes <= byte; i++) block += set.blocks[i].bytes;
        const auto first = static_cast<int64_t>(block - set.offset) / element_bytes;
        check_throws<DataError>([&] { reader.read(set.name, first, first + 1, memory.data()); }, parts);
      }
      saved.change([&] { flip(file, byte * 8 + 3); });
    }
  }
  BOOST_TEST(read_later > 10);
}

BOOST_AUTO_TEST_CASE(files_that_are_cut_missing_or_links) {
  Saved saved;
  const auto file = saved.path / "state.h5", manifest = saved.path / Manifest::file_name, aside = saved.folder.path / "aside";
  const auto whole = bytes_of(file);
  for (const size_t bytes : {size_t{0}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    saved.change([&] { fs::resize_file(file, bytes); });
    saved.refused({file.string(), fmt::format("has {} bytes, its manifest says {}", bytes, whole.size()), "truncated"});
    saved.change([&] { write_bytes(file, whole); });
  }
  saved.change([&] { write_bytes(file, whole + "x"); });
  saved.refused({"its manifest says"});
  saved.change([&] { write_bytes(file, whole); });

  for (const auto& path : {file, manifest}) {
    saved.change([&] { fs::rename(path, aside); });
    saved.refused({path.string() + " is missing"});
    saved.change([&] { fs::create_symlink(aside, path); });
    saved.refused({path.string() + " is a symbolic link"});
    saved.change([&] { fs::remove(path), fs::create_directory(path); });
    saved.refused({path.string() + " is not a regular file"});
    saved.change([&] { fs::remove(path), fs::rename(aside, path); });
  }
  check_sample(CheckpointReader(saved.path, *saved.communicator), 1, saved.rank, saved.size);
  saved.path /= "none";
  saved.refused({"none/manifest.json is missing"});
  saved.path = saved.folder.path / "last";
  saved.refused({"last/manifest.json is not in a directory"});
}

BOOST_AUTO_TEST_CASE(the_newest_that_is_whole_is_taken) {
  Saved saved({2, 3, 10, 11});
  const auto newest = [&] { return levin::newest_checkpoint(saved.folder.path, *saved.communicator); };
  const auto step = [](const levin::NewestCheckpoint& found) { return found.reader ? found.reader->manifest().step : -1; };
  BOOST_TEST(step(newest()) == 11);
  BOOST_TEST(newest().refused.empty());
  const auto passed_over = [&](const std::vector<fs::path>& paths) {
    return levin::newest_checkpoint(saved.folder.path, *saved.communicator, {.verify_on_read = {"model/"}}, paths);
  };
  BOOST_TEST(step(passed_over({saved.folder.path / "step=11"})) == 10);

  saved.change([&] { flip(saved.folder.path / "step=11/state.h5", 30000 * 8); });
  BOOST_TEST(step(newest()) == 10);
  BOOST_TEST(newest().refused.size() == 1);
  BOOST_TEST(newest().refused[0].find("step=11/state.h5") != std::string::npos);

  saved.change([&] {
    fs::resize_file(saved.folder.path / "step=10/manifest.json", 10);
    fs::remove(saved.folder.path / "step=3/state.h5");
    fs::create_directory(saved.folder.path / "step=99");
    fs::create_directory_symlink(saved.folder.path / "step=2", saved.folder.path / "step=100");
    write_bytes(saved.folder.path / "last", "step=99\n");  // a hint, and no more
  });
  const auto found = newest();
  BOOST_REQUIRE(found.reader);
  check_sample(*found.reader, 2, saved.rank, saved.size);
  BOOST_TEST(found.refused.size() == 4);  // 99, 11, 10, 3

  // The last one that is left is verified before anything is read.
  saved.change([&] {
    flip(saved.folder.path / "step=2/state.h5", 30000 * 8);
    fs::remove_all(saved.folder.path / "step=11");
  });
  BOOST_TEST(step(passed_over({})) == -1);

  saved.change([&] { fs::remove_all(saved.folder.path / "step=2"); });
  BOOST_TEST(step(newest()) == -1);
  BOOST_TEST(step(levin::newest_checkpoint(saved.folder.path / "none", *saved.communicator)) == -1);
}

// A socket cannot be opened (ENXIO), whatever the user's rights.
BOOST_AUTO_TEST_CASE(a_checkpoint_that_cannot_be_read_is_not_passed_over) {
  Saved saved({2, 3});
  const auto aside = saved.folder.path / "aside";
  for (const auto& file : {saved.path / "state.h5", saved.path / Manifest::file_name}) {
    saved.change([&] {
      fs::rename(file, aside);
      BOOST_TEST(mknod(file.c_str(), S_IFSOCK | 0600, 0) == 0);
    });
    check_throws<levin::IoError>([&] { levin::newest_checkpoint(saved.folder.path, *saved.communicator); },
                                 {"[checkpoint]", "cannot open " + file.string(), "No such device or address"});
    saved.change([&] { fs::rename(aside, file); });
  }
  const auto found = levin::newest_checkpoint(saved.folder.path, *saved.communicator);
  BOOST_REQUIRE(found.reader);
  BOOST_TEST(found.reader->manifest().step == 3);
}

BOOST_AUTO_TEST_CASE(many_files_raise_the_limit_of_open_files) {
  Saved saved;
  rlimit before{};
  BOOST_REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  const int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
  close(next);
  rlimit low = before;
  low.rlim_cur = static_cast<rlim_t>(next) + 4;
  BOOST_REQUIRE(low.rlim_cur < before.rlim_max);
  BOOST_REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
  {
    std::vector<CheckpointReader> readers;
    for (int i = 0; i < 8; i++) BOOST_CHECK_NO_THROW(readers.emplace_back(saved.path));
    BOOST_TEST(readers.size() == 8);
  }
  BOOST_TEST(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

BOOST_AUTO_TEST_SUITE_END()
