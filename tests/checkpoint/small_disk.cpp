// Runs with a file system of 4 MB and one that is read-only (see the script small_disk).
#include <sys/statvfs.h>

#include <cstdlib>

#include "checkpoint_sample.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using levin::CheckpointReader;
using levin::CheckpointWriter;
using levin::Communicator;
using levin::IoError;
using Names = std::vector<std::string>;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(checkpoint_small_disk, *boost::unit_test::disabled())

namespace {

struct Ranks {
  std::unique_ptr<Communicator> communicator = Communicator::create_cpu(runtime());
  int rank = communicator->rank(), size = communicator->size();
  fs::path disks = std::getenv("LEVIN_TEST_DISKS");

  void check(const std::string& name, int64_t step) {
    check_sample(CheckpointReader(disks / "full" / name, *communicator), step, rank, size);
    communicator->barrier();
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(a_full_disk_is_an_error_on_all_ranks_and_leaves_nothing) {
  Ranks ranks;
  const auto folder = ranks.disks / "full";
  CheckpointWriter writer(*ranks.communicator, folder);
  writer.save({.name = "before", .step = 1}, Sample(1, ranks.rank, ranks.size).state);
  const Sample large(2, ranks.rank, ranks.size, 2000000);
  for (int round = 0; round < 3; round++) {
    check_throws<IoError>([&] { writer.save({.name = "large", .step = 2}, large.state); },
                          {"[checkpoint]", "No space left on device", "free some space"});
    writer.save_async({.name = "large", .step = 2}, large.state);
    check_throws<IoError>([&] { writer.finish(); }, {"[checkpoint]", "No space left on device"});
    ranks.communicator->barrier();
    BOOST_TEST(names_in(folder) == (Names{"before", "last"}));
  }
  ranks.check("before", 1);
  writer.save({.name = "after", .step = 3}, Sample(3, ranks.rank, ranks.size).state);
  ranks.check("after", 3);
}

BOOST_AUTO_TEST_CASE(a_staging_directory_without_room_saves_in_the_foreground) {
  Ranks ranks;
  const SharedFolder folder(*ranks.communicator);
  CheckpointWriter writer(*ranks.communicator, folder.path, {.staging_directory = ranks.disks / "full"});
  const Sample large(2, ranks.rank, ranks.size, 6000000);
  writer.save_async({.name = "large", .step = 2}, large.state);
  const auto report = writer.finish();
  BOOST_REQUIRE(report);
  BOOST_TEST(!report->in_background);
  check_sample(CheckpointReader(folder.path / "large", *ranks.communicator), 2, ranks.rank, ranks.size, 6000000);
}

BOOST_AUTO_TEST_CASE(a_disk_without_any_room) {
  Ranks ranks;
  const auto folder = ranks.disks / "full";
  CheckpointWriter writer(*ranks.communicator, folder);
  ranks.communicator->barrier();
  if (ranks.rank == 0)
    for (size_t bytes : {1 << 20, 4096})
      for (int i = 0; i < 1000; i++) {
        write_bytes(ranks.disks / "full" / fmt::format("fill-{}-{}", bytes, i), std::string(bytes, 'x'));
        struct statvfs stats {};
        statvfs(folder.c_str(), &stats);
        if (stats.f_bavail * stats.f_frsize < bytes) break;
      }
  ranks.communicator->barrier();
  check_throws<IoError>([&] { writer.save({.name = "a", .step = 2}, Sample(2, ranks.rank, ranks.size, 10).state); },
                        {"No space left on device"});
  BOOST_CHECK_THROW(CheckpointWriter(*ranks.communicator, folder / "new").save({.name = "a"}, {}), IoError);
  ranks.communicator->barrier();
  if (ranks.rank == 0)
    for (const auto& name : names_in(folder)) {
      BOOST_TEST(name.find("partial") == std::string::npos);
      if (name.starts_with("fill")) fs::remove(folder / name);
    }
  ranks.communicator->barrier();
  writer.save({.name = "a", .step = 4}, Sample(4, ranks.rank, ranks.size).state);
  ranks.check("a", 4);
}

BOOST_AUTO_TEST_CASE(a_read_only_folder_is_known_at_once) {
  Ranks ranks;
  check_throws<IoError>([&] { CheckpointWriter(*ranks.communicator, ranks.disks / "read_only"); },
                        {"[checkpoint]", "Read-only file system", "save to a writable directory"});
  check_throws<IoError>([&] { CheckpointWriter(*ranks.communicator, ranks.disks / "read_only/new"); },
                        {"[checkpoint]", "Read-only file system", "save to a writable directory"});
}

BOOST_AUTO_TEST_SUITE_END()
