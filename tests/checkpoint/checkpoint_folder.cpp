#include "levin/checkpoint/checkpoint_folder.h"

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

}  // namespace

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

BOOST_AUTO_TEST_SUITE_END()
