#include "../../src/cluster/position_file.h"

#include <stdlib.h>

#include <fstream>
#include <iterator>

#include "levin_test.h"

using levin::detail::PositionFile;
using levin::detail::RankPosition;

BOOST_AUTO_TEST_SUITE(cluster_position_file)

namespace {

struct PositionFolder {
  PositionFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "levin_positions.XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~PositionFolder() {
    std::error_code unseen;
    std::filesystem::remove_all(path, unseen);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(path)) found.push_back(entry.path().filename());
    return found;
  }
  std::filesystem::path path;
};

std::vector<std::optional<RankPosition>> read_all(const PositionFile& file, size_t ranks) {
  std::vector<std::optional<RankPosition>> positions(ranks);
  file.read(positions);
  return positions;
}

}  // namespace

BOOST_AUTO_TEST_CASE(positions_come_back) {
  const PositionFolder folder;
  const PositionFile file(folder.path, "1", 4), of_another_attempt(folder.path, "2", 4);
  BOOST_TEST((!file.exists() && !read_all(file, 4)[0]));
  const RankPosition second{.rank = 2,
                            .idle_seconds = 1.5,
                            .phase = "save",
                            .step = 12,
                            .calls = "barrier number 3",
                            .context = "\n  in setup of Data",
                            .stack =
                                "\n    f\xff"
                                "g",  // not UTF-8
                            .answered = false};
  BOOST_TEST(file.write(second));
  BOOST_TEST((file.exists() && !of_another_attempt.exists()));
  BOOST_TEST(file.write({.rank = 0}));
  const auto found = read_all(file, 4);
  BOOST_TEST((found[0] && !found[1] && found[2] && !found[3]));
  BOOST_TEST(found[2]->rank == 2);
  BOOST_TEST(found[2]->idle_seconds == 1.5);
  BOOST_TEST(found[2]->phase == "save");
  BOOST_TEST(found[2]->step == 12);
  BOOST_TEST(found[2]->calls == "barrier number 3");
  BOOST_TEST(found[2]->context == "\n  in setup of Data");
  BOOST_TEST(found[2]->stack.starts_with("\n    f"));
  BOOST_TEST(!found[2]->answered);
  BOOST_TEST(folder.names().size() == 1u);  // whatever the number of ranks
}

BOOST_AUTO_TEST_CASE(long_positions_are_cut) {
  const PositionFolder folder;
  const PositionFile file(folder.path, "1", 2);
  BOOST_TEST(file.write({.rank = 1, .step = 3, .context = std::string(20'000, 'c'), .stack = std::string(20'000, 's')}));
  const auto found = read_all(file, 2);
  BOOST_REQUIRE(found[1].has_value());
  BOOST_TEST((found[1]->step == 3 && found[1]->stack.size() == 1000u));
  BOOST_TEST(!read_all(file, 2)[0]);
}

BOOST_AUTO_TEST_CASE(incomplete_slots_do_not_count) {
  const PositionFolder folder;
  const PositionFile file(folder.path, "1", 2);
  BOOST_TEST(file.write({.rank = 0}));
  BOOST_TEST(file.write({.rank = 1}));
  std::fstream(folder.path / ".hang-1", std::ios::in | std::ios::out | std::ios::binary).seekp(20).put('#');
  const auto found = read_all(file, 2);
  BOOST_TEST((!found[0] && found[1]));
}

BOOST_AUTO_TEST_CASE(one_rank_reports) {
  const PositionFolder folder;
  const PositionFile file(folder.path, "1", 2), same(folder.path, "1", 2);
  BOOST_TEST(file.write({.rank = 0}));
  BOOST_TEST(file.claim());
  BOOST_TEST(!same.claim());
  BOOST_TEST(file.finish("where all ranks stand\n") == folder.path / "hang.txt");
  std::ifstream report(folder.path / "hang.txt");
  BOOST_TEST(std::string(std::istreambuf_iterator<char>(report), {}) == "where all ranks stand\n");
  BOOST_TEST(folder.names().size() == 1u);
}

BOOST_AUTO_TEST_CASE(leftovers_are_removed) {
  const PositionFolder folder;
  const PositionFile file(folder.path, "1", 2);
  BOOST_TEST(file.write({.rank = 0}));
  BOOST_TEST(file.claim());
  std::ofstream(folder.path / "hang.txt") << "of an earlier attempt";
  PositionFile::remove_leftovers(folder.path);
  BOOST_TEST((folder.names() == std::vector<std::string>{"hang.txt"}));
  PositionFile::remove_leftovers(folder.path / "absent");
}

BOOST_AUTO_TEST_CASE(a_folder_that_is_not_there) {
  const PositionFile file("/absent/folder", "1", 2);
  BOOST_TEST((!file.write({.rank = 0}) && !file.claim() && !file.exists() && file.finish("text").empty()));
}

BOOST_AUTO_TEST_SUITE_END()
