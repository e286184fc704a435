#include "levin/data/token_dataset.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <numeric>

#include "../checkpoint/checkpoint_sample.h"
#include "levin/core/error.h"
#include "levin/data/hdf5_array.h"
#include "levin/data/token_file.h"
#include "levin_test.h"

using namespace levin::test;
using levin::Batch;
using levin::DataError;
using levin::Hdf5Array;
using levin::TokenDataset;
namespace fs = std::filesystem;

namespace {

struct Ranks {
  std::unique_ptr<levin::Communicator> communicator = levin::Communicator::create_cpu(runtime());
  SharedFolder folder{*communicator};
  fs::path cache = folder.path / "cache";
  bool first = communicator->rank() == 0;

  fs::path text(const std::string& name, const std::string& bytes) const {
    if (first) write_bytes(folder.path / name, bytes);
    communicator->barrier();
    return folder.path / name;
  }
  fs::path make(const std::vector<fs::path>& sources) const { return levin::make_token_file(sources, cache, *communicator); }
};

std::string tokens_of(const fs::path& file) {
  const levin::Tensor tokens = Hdf5Array(file, "tokens").read(0, Hdf5Array(file, "tokens").rows());
  return {static_cast<const char*>(tokens.const_data_ptr()), static_cast<size_t>(tokens.numel())};
}

std::string letters(size_t bytes, size_t from) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; i++) text[i] = static_cast<char>((i * 2654435761U + from) >> 7);
  return text;
}

// Root may read everything, so a test of permissions must run as somebody else.
struct Unprivileged {
  Unprivileged() {
    if (user == 0) BOOST_REQUIRE(seteuid(65534) == 0);
  }
  ~Unprivileged() {
    if (user == 0 && seteuid(0) != 0) std::abort();
  }
  Unprivileged(const Unprivileged&) = delete;
  Unprivileged& operator=(const Unprivileged&) = delete;
  uid_t user = geteuid();
};

}  // namespace

BOOST_AUTO_TEST_SUITE(data_token_dataset)

BOOST_AUTO_TEST_CASE(windows_lie_side_by_side) {
  const Ranks ranks;
  std::string bytes(256, '\0');
  std::iota(bytes.begin(), bytes.end(), 0);
  const auto tokens = std::make_shared<Hdf5Array>(ranks.make({ranks.text("bytes", bytes)}), "tokens");
  const TokenDataset data(tokens, 10, 100, 256);
  BOOST_TEST(data.size() == 15);  // the last target is token 250
  Batch batch;
  data.get(std::vector<int64_t>{14, 0}, batch);
  BOOST_TEST(at::equal(batch["input"], at::tensor({240, 100}, at::kLong).unsqueeze(1).add(at::arange(10))));
  BOOST_TEST(at::equal(batch["target"], batch["input"].add(1)));
  BOOST_TEST(batch.weight() == 20);
  BOOST_TEST(TokenDataset(tokens, 255, 0, 256).size() == 1);
  check_throws<DataError>([&] { TokenDataset(tokens, 256, 0, 256); }, {"a window needs 257 tokens", "but 256 of ", "shorter context"});
  check_throws<levin::UsageError>([&] { TokenDataset(tokens, 4, 0, 257); }, {"0 to 257", "which has 256"});
  check_throws<levin::UsageError>([&] { data.get(std::vector<int64_t>{15}, batch); }, {"sample 15 is out of range", "has 15"});
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(data_token_file)

BOOST_AUTO_TEST_CASE(all_ranks_write_pieces_of_one_text) {
  const Ranks ranks;
  const std::string large = letters((size_t{33} << 20) + 5, 1), small = letters(1000, 2), packed = letters(3 << 20, 3);
  if (ranks.first) {
    fs::create_directories(ranks.folder.path / "texts/b");
    write_bytes(ranks.folder.path / "texts/a", small);
    write_bytes(ranks.folder.path / "texts/b/packed", packed);
    write_bytes(ranks.folder.path / "texts/c", "");
    output_of("gzip '" + (ranks.folder.path / "texts/b/packed").string() + "'");
  }
  const auto file = ranks.text("large", large);
  const auto cached = ranks.make({file, ranks.folder.path / "texts", file});
  BOOST_TEST((tokens_of(cached) == large + small + packed + large));
  BOOST_TEST(names_in(ranks.cache).size() == 1);
  BOOST_TEST(cached.parent_path() == ranks.cache);
}

BOOST_AUTO_TEST_CASE(it_is_made_once_as_long_as_the_sources_are_the_same) {
  const Ranks ranks;
  const auto a = ranks.text("a", "first"), b = ranks.text("b", "second");
  const auto cached = ranks.make({a, b});
  const auto time = fs::last_write_time(cached);
  BOOST_TEST(ranks.make({a, b}) == cached);
  BOOST_TEST((fs::last_write_time(cached) == time));
  BOOST_TEST(ranks.make({b, a}) != cached);
  BOOST_TEST(tokens_of(cached) == "firstsecond");
  ranks.text("a", "other");  // as long as before
  if (ranks.first) fs::last_write_time(a, time + std::chrono::seconds(2));
  ranks.communicator->barrier();
  const auto again = ranks.make({a, b});
  BOOST_TEST(again != cached);
  BOOST_TEST(tokens_of(again) == "othersecond");
}

BOOST_AUTO_TEST_CASE(sources_that_are_none) {
  const Ranks ranks;
  if (runtime().size() > 1) return;  // an error of one rank ends the others' waits
  check_throws<DataError>([&] { ranks.make({ranks.folder.path / "gone"}); }, {"[data] ", "gone is missing; give text files"});
  check_throws<DataError>([&] { ranks.make({ranks.text("empty", "")}); }, {"the text files are empty"});
  check_throws<DataError>([&] { ranks.make({ranks.text("bad.gz", "\x1F\x8B broken")}); }, {"bad.gz", "gzip"});
  BOOST_TEST(!fs::exists(ranks.cache));
  check_throws<levin::IoError>([&] { levin::make_token_file({ranks.text("a", "text")}, "/proc/none", *ranks.communicator); },
                               {"[data]", "/proc/none"});
}

// A pipe must not be waited for, a device must not be read.
BOOST_AUTO_TEST_CASE(sources_that_are_not_files_are_io_errors) {
  const Ranks ranks;
  if (runtime().size() > 1) return;
  const auto pipe = ranks.folder.path / "pipe";
  BOOST_REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  const auto refused = [&](const fs::path& source, const std::string& why) {
    check_throws<levin::IoError>([&] { ranks.make({source}); }, {"[data] ", source.string() + why});
  };
  refused(pipe, " is not a regular file but a pipe; give the path of a regular file");
  refused("/dev/null", " is not a regular file but a device");
  refused("/dev/zero", " is not a regular file but a device");
  fs::create_symlink("link", ranks.folder.path / "link");  // to itself
  refused(ranks.folder.path / "link", ": Too many levels of symbolic links");
  BOOST_TEST(!fs::exists(ranks.cache));
}

BOOST_AUTO_TEST_CASE(folders_that_cannot_be_read_are_io_errors) {
  const Ranks ranks;
  if (runtime().size() > 1) return;
  const auto texts = ranks.folder.path / "texts", closed = texts / "closed";
  fs::create_directories(closed / "inside");
  write_bytes(texts / "a", "text");
  fs::permissions(ranks.folder.path, fs::perms(0755));
  fs::permissions(closed, fs::perms(0));
  {
    const Unprivileged user;
    for (const auto& source : {texts, closed})
      check_throws<levin::IoError>([&] { ranks.make({source}); },
                                   {"[data] cannot read the folder " + closed.string() + ": Permission denied"});
    check_throws<levin::IoError>([&] { ranks.make({closed / "inside"}); }, {"[data] cannot look at " + (closed / "inside").string()});
  }
  fs::permissions(closed, fs::perms(0700));
}

BOOST_AUTO_TEST_CASE(folders_without_what_is_hidden_and_with_links) {
  const Ranks ranks;
  const auto texts = ranks.folder.path / "texts", linked = ranks.folder.path / "elsewhere";
  if (ranks.first) {
    for (const auto* folder : {"texts/.git/objects", "texts/b/.ipynb_checkpoints", "elsewhere"})
      fs::create_directories(ranks.folder.path / folder);
    for (const auto* hidden : {"texts/.git/config", "texts/.git/objects/x", "texts/b/.ipynb_checkpoints/c", "texts/.notes"})
      write_bytes(ranks.folder.path / hidden, "hidden");
    write_bytes(texts / "a", "a");
    write_bytes(texts / "b/c", "c");
    write_bytes(linked / "e", "e");
    fs::create_symlink("../elsewhere", texts / "d");
    fs::create_symlink("d", texts / "d-again");     // each folder once
    fs::create_symlink("../b", texts / "b/cycle");  // without a check this never ends
    fs::create_symlink("../texts", linked / "top");
    fs::create_symlink("../elsewhere/e", texts / "f");
    BOOST_REQUIRE(mkfifo((texts / "pipe").c_str(), 0600) == 0);
  }
  ranks.communicator->barrier();
  BOOST_TEST(tokens_of(ranks.make({texts})) == "acee");
  BOOST_TEST(tokens_of(ranks.make({texts / ".git/objects", texts / ".notes"})) == "hiddenhidden");
  if (runtime().size() > 1) return;
  fs::create_symlink("gone", texts / "dangling");
  check_throws<DataError>([&] { ranks.make({texts}); }, {"texts/dangling is a symbolic link to a missing file; remove the link"});
}

BOOST_AUTO_TEST_SUITE_END()
