// Files that MPI makes, with hints. What a file system does with them is its own: a local one has no stripes.
#include <mpi.h>
#include <sys/stat.h>

#include "checkpoint_sample.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "mpi_calls.h"

using namespace levin::test;
using levin::CheckpointReader;
using levin::CheckpointWriter;
using levin::Communicator;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(checkpoint_mpi_io_hints)

namespace {

const std::map<std::string, std::string> stripes{{"striping_factor", "8"}, {"striping_unit", "4194304"}, {"no_such_hint", "x"}};

struct Ranks {
  std::unique_ptr<Communicator> communicator = Communicator::create_cpu(runtime());
  int rank = communicator->rank(), size = communicator->size();
  SharedFolder folder{*communicator};
  size_t opened_before = opened_files().size();

  /// Files that this rank has opened through MPI since then.
  std::vector<OpenedFile> opened() const {
    return {opened_files().begin() + static_cast<std::ptrdiff_t>(opened_before), opened_files().end()};
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(files_are_made_by_mpi_with_the_hints) {
  for (const int64_t each : {0, 1}) {
    const Ranks ranks;
    const auto before = umask(0);
    CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false, .ranks_per_file = each, .mpi_io_hints = stripes});
    const auto path = writer.save({.name = "a", .step = 3}, Sample(3, ranks.rank, ranks.size).state).path;
    writer.save_async({.name = "b", .step = 4}, Sample(4, ranks.rank, ranks.size).state);
    writer.finish();
    umask(before);
    check_sample(CheckpointReader(path, *ranks.communicator), 3, ranks.rank, ranks.size);
    check_sample(CheckpointReader(ranks.folder.path / "b", *ranks.communicator), 4, ranks.rank, ranks.size);
    // Rank 0 has also tried.
    const bool creates = ranks.rank == 0 || each == 1;
    BOOST_TEST(ranks.opened().size() == (ranks.rank == 0 ? 3u : creates ? 2u : 0u));
    for (const auto& opened_file : ranks.opened()) {
      BOOST_TEST((opened_file.hints == stripes));
      BOOST_TEST(opened_file.mode == (MPI_MODE_CREATE | MPI_MODE_EXCL | MPI_MODE_RDWR));
      BOOST_TEST(opened_file.name.find(".partial-") != std::string::npos);
    }
    if (ranks.rank == 0)
      for (const auto& entry : fs::directory_iterator(path))
        BOOST_TEST(((fs::status(entry).permissions() & fs::perms::others_write) == fs::perms::none), entry.path());
    ranks.communicator->barrier();
  }
}

BOOST_AUTO_TEST_CASE(without_hints_mpi_opens_nothing) {
  const Ranks ranks;
  CheckpointWriter writer(*ranks.communicator, ranks.folder.path, {.fsync = false});
  writer.save({.name = "a"}, Sample(3, ranks.rank, ranks.size).state);
  BOOST_TEST(ranks.opened().empty());
}

BOOST_AUTO_TEST_CASE(a_file_that_mpi_cannot_create_is_an_error_on_all_ranks) {
  const Ranks ranks;
  ranks.communicator->barrier();
  const auto folder = ranks.folder.path / "checkpoints";
  CheckpointWriter writer(*ranks.communicator, folder, {.fsync = false, .mpi_io_hints = stripes});
  ranks.communicator->barrier();
  if (ranks.rank == 0) fs::remove_all(folder), write_bytes(folder, "a file");
  ranks.communicator->barrier();
  check_throws<levin::IoError>([&] { writer.save({.name = "a"}, Sample(3, ranks.rank, ranks.size).state); },
                               {"[checkpoint]", folder.string()});
  for (const auto& hints : std::vector<std::map<std::string, std::string>>{
           {{"", "a"}}, {{"a", ""}}, {{std::string(300, 'a'), "b"}}, {{"a", std::string(3000, 'b')}}})
    check_throws<levin::UsageError>([&] { CheckpointWriter(*ranks.communicator, ranks.folder.path, {.mpi_io_hints = hints}); },
                                    {"invalid MPI-IO hint", "use names below"});
}

BOOST_AUTO_TEST_SUITE_END()
