#include "levin/checkpoint/checkpoint_folder.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

#include "checkpoint_sample.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using levin::CheckpointWriter;
using Names = std::vector<std::string>;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(checkpoint_folder)

namespace {

struct Folder {
  std::unique_ptr<levin::Communicator> communicator = levin::Communicator::create_cpu(runtime());
  SharedFolder shared{*communicator};
  fs::path path = shared.path;
  CheckpointWriter writer{*communicator, path, {.fsync = false}};

  void save(const std::string& name, int64_t step) { writer.save({.name = name, .step = step}, Sample(step, 0, 1, 10).state); }
  Names listed() const {
    Names names;
    for (const auto& checkpoint : levin::list_checkpoints(path).checkpoints) names.push_back(checkpoint.path.filename().string());
    return names;
  }
};

/// Called before an exchange of names is refused, as Lustre and NFS do; empty: names can be exchanged.
std::function<void(const fs::path& from)> refuse_exchange;

}  // namespace

// Stands before the C library's.
extern "C" int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  if (!refuse_exchange) return static_cast<int>(syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
  refuse_exchange(from);
  errno = EINVAL;
  return -1;
}

BOOST_AUTO_TEST_CASE(the_manifests_step_counts_not_the_name) {
  Folder folder;
  folder.save("z", 1);
  folder.save("a-val_loss=0.5", 20);
  folder.save("m", 3);
  folder.save("b", 3);  // later
  BOOST_TEST(folder.listed() == (Names{"z", "m", "b", "a-val_loss=0.5"}));
  BOOST_TEST(levin::list_checkpoints(folder.path / "none").checkpoints.empty());
}

BOOST_AUTO_TEST_CASE(a_removed_checkpoint_is_gone) {
  Folder folder;
  folder.save("a", 1);
  folder.save("b", 2);
  levin::remove_checkpoint(folder.path / "b");
  BOOST_TEST(names_in(folder.path) == (Names{"a", "last"}));
  BOOST_TEST(!levin::read_last(folder.path));  // it named b
  check_throws<levin::IoError>([&] { levin::remove_checkpoint(folder.path / "b"); }, {"cannot remove", "b"});
}

BOOST_AUTO_TEST_CASE(leftovers_go_and_block_nothing) {
  Folder folder;
  folder.save("a", 1);
  for (const std::string name : {".a.partial-1-0", ".a.partial-1-1", ".b.partial-99-removed"}) fs::create_directory(folder.path / name);
  write_bytes(folder.path / ".a.partial-1-0/state.h5", "half");
  write_bytes(folder.path / ".b.partial-99-removed/manifest.json", "{}");
  fs::create_symlink("/etc", folder.path / ".c.partial-1-0");
  write_bytes(folder.path / ".last.partial-1", "now");
  fs::create_directory(folder.path / ".other");
  BOOST_TEST(folder.listed() == Names{"a"});
  BOOST_TEST(levin::remove_leftovers(folder.path) == (Names{".a.partial-1-0", ".a.partial-1-1", ".b.partial-99-removed"}));
  BOOST_TEST(names_in(folder.path) == (Names{".c.partial-1-0", ".last.partial-1", ".other", "a", "last"}));
  BOOST_TEST(fs::exists("/etc/passwd"));
  BOOST_TEST(levin::remove_leftovers(folder.path / "none").empty());
}

BOOST_AUTO_TEST_CASE(files_of_a_living_process_stay) {
  Folder folder;
  const Sample sample(7, 0, 1, 1000000);
  folder.writer.save_async({.name = "a", .step = 7}, sample.state);
  BOOST_TEST(levin::remove_leftovers(folder.path).empty());
  BOOST_TEST(folder.listed().empty());
  BOOST_TEST(folder.writer.finish().has_value());
  BOOST_TEST(folder.listed() == Names{"a"});
}

BOOST_AUTO_TEST_CASE(the_hint_is_not_believed) {
  Folder folder;
  BOOST_TEST(!levin::read_last(folder.path));
  folder.save("a", 1);
  BOOST_TEST(levin::read_last(folder.path).value() == folder.path / "a");
  for (const auto& text : Names{"", "b\n", "../" + folder.path.filename().string() + "/a\n", "/etc\n", ".\n", "a\nb\n", "last"}) {
    write_bytes(folder.path / "last", text);
    BOOST_TEST(!levin::read_last(folder.path));
  }
  fs::remove(folder.path / "last");
  fs::create_symlink(folder.path / "a/manifest.json", folder.path / "last");
  BOOST_TEST(!levin::read_last(folder.path));
}

BOOST_AUTO_TEST_CASE(a_replacement_without_exchange_keeps_a_checkpoint) {
  Folder folder;
  const auto step = [&] { return levin::list_checkpoints(folder.path).checkpoints.at(0).manifest.step; };
  folder.save("a", 1);
  int refused = 0;
  refuse_exchange = [&](const fs::path&) { refused++; };
  folder.save("a", 2);
  BOOST_TEST(step() == 2);
  BOOST_TEST(names_in(folder.path) == (Names{"a", "last"}));
  // The new one disappears before it gets the name.
  refuse_exchange = [&](const fs::path& from) { refused++, fs::rename(from, folder.path / ".aside"); };
  check_throws<levin::IoError>([&] { folder.save("a", 3); }, {"cannot rename", "No such file or directory"});
  refuse_exchange = nullptr;
  BOOST_TEST(refused == 2);
  BOOST_TEST(names_in(folder.path) == (Names{".aside", "a", "last"}));
  BOOST_TEST(step() == 2);
}

BOOST_AUTO_TEST_CASE(a_killed_replacement_is_undone) {
  Folder folder;
  folder.save("a", 1);
  folder.save("b", 2);
  const auto kill_between_renames = [&] {
    fs::rename(folder.path / "a", folder.path / ".a.partial-1-0-replaced");
    fs::copy(folder.path / "b", folder.path / ".a.partial-1-0", fs::copy_options::recursive);
  };
  kill_between_renames();
  BOOST_TEST(folder.listed() == (Names{"a", "b"}));
  fs::remove_all(folder.path / ".a.partial-1-0");
  kill_between_renames();
  BOOST_TEST(levin::remove_leftovers(folder.path) == Names{".a.partial-1-0"});
  BOOST_TEST(names_in(folder.path) == (Names{"a", "b", "last"}));
  // Killed after both renames: the name is taken.
  fs::copy(folder.path / "b", folder.path / ".a.partial-1-0-replaced", fs::copy_options::recursive);
  BOOST_TEST(levin::list_checkpoints(folder.path).checkpoints.at(0).manifest.step == 1);
  BOOST_TEST(levin::remove_leftovers(folder.path) == Names{".a.partial-1-0-replaced"});
  // Killed while it removed the old one.
  fs::copy(folder.path / "b", folder.path / ".c.partial-1-0-replaced", fs::copy_options::recursive);
  fs::remove(folder.path / ".c.partial-1-0-replaced/state.h5");
  BOOST_TEST(folder.listed() == (Names{"a", "b"}));
  BOOST_TEST(levin::remove_leftovers(folder.path) == Names{".c.partial-1-0-replaced"});
}

BOOST_AUTO_TEST_SUITE_END()
