#include "levin/checkpoint/branch.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "checkpoint_sample.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using Names = std::vector<std::string>;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(checkpoint_branch)

namespace {

int renames_until_death = -1;  // of the process; -1: it lives

}  // namespace

// In place of the system's: a process is killed right before, or right after, one of its renames.
extern "C" int rename(const char* from, const char* to) noexcept {
  if (renames_until_death >= 0 && renames_until_death-- == 0) kill(getpid(), SIGKILL);
  return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

namespace {

struct Folder {
  std::unique_ptr<levin::Communicator> communicator = levin::Communicator::create_cpu(runtime());
  SharedFolder shared{*communicator};
  fs::path path = shared.path;

  explicit Folder(int64_t newest) {
    levin::CheckpointWriter writer(*communicator, path, {.fsync = false});
    for (int64_t step = 10; step <= newest; step += 10) writer.save({.name = name_of(step), .step = step}, Sample(step, 0, 1, 10).state);
  }
  static std::string name_of(int64_t step) { return "step=" + std::to_string(step); }
  Names listed(const fs::path& where = {}) const {
    Names names;
    for (const auto& found : levin::list_checkpoints(path / where).checkpoints) names.push_back(found.path.filename().string());
    return names;
  }
  std::string last() const {
    const auto found = levin::read_last(path);
    return found ? found->filename().string() : "";
  }
};

// What a process that is killed at its n-th rename leaves behind; false: it was not killed.
bool killed_in_open_branch(const fs::path& folder, std::optional<int64_t> resumed_step, int renames) {
  const pid_t child = fork();
  if (child == 0) {
    renames_until_death = renames;
    levin::open_branch(folder, resumed_step);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status);
}

}  // namespace

BOOST_AUTO_TEST_CASE(later_steps_are_set_aside_and_nothing_is_removed) {
  const Folder folder(40);
  const auto moved = levin::open_branch(folder.path, 20);
  BOOST_TEST(moved.folder == folder.path / "abandoned-1");
  BOOST_TEST(moved.names == (Names{"step=30", "step=40"}));
  BOOST_TEST(folder.listed() == (Names{"step=10", "step=20"}));
  BOOST_TEST(folder.listed("abandoned-1") == moved.names);
  BOOST_TEST(folder.last() == "step=20");
  BOOST_TEST(names_in(folder.path) == (Names{"abandoned-1", "last", "step=10", "step=20"}));
  check_sample(levin::CheckpointReader(moved.folder / "step=40"), 40, 0, 1, 10);

  BOOST_TEST(levin::open_branch(folder.path, 20).names.empty());  // the branch is open
  BOOST_TEST(levin::open_branch(folder.path, 20).folder.empty());
  BOOST_TEST(levin::open_branch(folder.path, 10).folder == folder.path / "abandoned-2");
  BOOST_TEST(folder.last() == "step=10");
  BOOST_TEST(levin::open_branch(folder.path / "none", 10).names.empty());
}

BOOST_AUTO_TEST_CASE(a_training_without_a_past_sets_all_aside_corrupt_ones_too) {
  const Folder folder(30);
  write_bytes(folder.path / "step=20/manifest.json", "{}");
  fs::remove(folder.path / "step=30/manifest.json");
  fs::create_directory(folder.path / "notes");
  const auto moved = levin::open_branch(folder.path, std::nullopt);
  BOOST_TEST(moved.names == (Names{"step=10", "step=20", "step=30"}));
  BOOST_TEST(names_in(folder.path) == (Names{"abandoned-1", "notes"}));
  BOOST_TEST(folder.last().empty());
}

// Whenever it dies, the folder shows the old branch or the new one, and all checkpoints are somewhere.
BOOST_AUTO_TEST_CASE(a_process_may_die_at_any_rename) {
  const Names old_branch{"step=10", "step=20", "step=30", "step=40"};
  for (const bool starts_over : {false, true}) {
    const auto step = starts_over ? std::nullopt : std::optional<int64_t>(20);
    const Names new_branch = starts_over ? Names{} : Names{"step=10", "step=20"};
    int deaths = 0, with_the_old = 0;
    for (int renames = 0;; renames++) {
      const Folder folder(40);
      if (!killed_in_open_branch(folder.path, step, renames)) break;
      deaths++;
      const auto found = folder.listed();
      BOOST_TEST((found == old_branch || found == new_branch));
      with_the_old += found == old_branch;
      // The next start resumes from what it sees, or begins anew.
      levin::open_branch(folder.path, found.empty() ? std::nullopt : std::optional<int64_t>(found == old_branch ? 40 : 20));
      BOOST_TEST(folder.listed() == found);
      BOOST_TEST(folder.last() == (found.empty() ? "" : found.back()));
      auto all = folder.listed("abandoned-1");
      all.insert(all.begin(), found.begin(), found.end());
      BOOST_TEST(all == old_branch);
      BOOST_TEST(!fs::exists(folder.path / ".abandoned"));
    }
    BOOST_TEST(deaths >= (starts_over ? 5 : 4));  // the list and each checkpoint
    BOOST_TEST(with_the_old == 1);                // before the list has its name
  }
}

BOOST_AUTO_TEST_CASE(a_move_that_fails_is_an_error_and_is_done_later) {
  const Folder folder(30);
  write_bytes(folder.path / ".abandoned", "abandoned-1\nstep=30\n");
  write_bytes(folder.path / "abandoned-1", "a file in its place");
  BOOST_TEST(folder.listed() == (Names{"step=10", "step=20"}));
  check_throws<levin::IoError>([&] { levin::open_branch(folder.path, 20); }, {"abandoned-1"});
  fs::remove(folder.path / "abandoned-1");
  levin::open_branch(folder.path, 20);
  BOOST_TEST(folder.listed("abandoned-1") == Names{"step=30"});
}

BOOST_AUTO_TEST_CASE(a_list_is_not_believed) {
  const Folder folder(20);
  for (const std::string text : {"", "abandoned-1", "../abandoned-1\nstep=10\n", "abandoned-x\nstep=10\n", "abandoned-1\n../step=10\n"}) {
    write_bytes(folder.path / ".abandoned", text);
    BOOST_TEST(folder.listed() == (Names{"step=10", "step=20"}));
  }
}

BOOST_AUTO_TEST_CASE(names_of_branches_are_not_names_of_checkpoints) {
  BOOST_TEST(levin::is_abandoned_branch("abandoned-12"));
  for (const std::string name : {"abandoned-", "abandoned-1a", "abandoned", "step=10"}) BOOST_TEST(!levin::is_abandoned_branch(name));
  for (const std::string name : {"", ".a", "last", "a/b", "a\nb", "\xff", "abandoned-1"}) BOOST_TEST(!levin::is_checkpoint_name(name));
  BOOST_TEST(levin::is_checkpoint_name("step=000010-val_loss=0.5"));
  BOOST_TEST(!levin::is_checkpoint_name(std::string(201, 'a')));
}

BOOST_AUTO_TEST_SUITE_END()
