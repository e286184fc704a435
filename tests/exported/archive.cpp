// The zip file and the weights in it: what PyTorch writes is read, and every lie is refused.
#include "../../src/exported/archive.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>

#include "folder_of_ranks.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "test_paths.h"
#include "zip_writer.h"

using namespace levin::test;
using levin::ConfigError;
using levin::DataError;
using levin::exported::Archive;
using levin::exported::Weight;

BOOST_AUTO_TEST_SUITE(exported_archive)

namespace {

const std::filesystem::path structures = std::filesystem::path(LEVIN_TESTS) / "exported/structures";

struct Fixture {
  FolderOfRanks folder;
  std::filesystem::path file = folder.path / "net.pt2";

  void write(const std::string& bytes) const { std::ofstream(file, std::ios::binary) << bytes; }
  void refuse(const std::string& bytes, const std::string& why) const {
    write(bytes);
    check_throws<DataError>([&] { Archive{file}; }, {"[exported]", "net.pt2", why, "; "});
  }
  void unusable(const std::string& bytes, const std::string& why) const {
    write(bytes);
    check_throws<ConfigError>([&] { Archive{file}; }, {"[exported]", "net.pt2", why, "; "});
  }
};

std::string bytes_of_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A small archive with an entry "a" of five bytes.
std::vector<ZipEntry> small() {
  return {{.name = "net/archive_format", .bytes = "pt2"},
          {.name = "net/archive_version", .bytes = "0"},
          {.name = "net/byteorder", .bytes = "little"},
          {.name = "net/models/model.json", .bytes = "{}"},
          {.name = "net/a", .bytes = "hello"}};
}

const Weight& find(const std::vector<Weight>& weights, const std::string& name) {
  const auto found = std::find_if(weights.begin(), weights.end(), [&](const Weight& weight) { return weight.name == name; });
  BOOST_REQUIRE(found != weights.end());
  return *found;
}

}  // namespace

BOOST_AUTO_TEST_CASE(what_pytorch_writes_is_read) {
  const Archive archive(structures / "two_graphs.pt2");
  BOOST_TEST(archive.has("models/train.json"));
  BOOST_TEST(archive.has("models/eval.json"));
  BOOST_TEST(!archive.has("two_graphs/models/eval.json"));
  BOOST_TEST(archive.text("archive_format", 3) == "pt2");
  BOOST_TEST(archive.size("data/weights/weight_0") == 24u);
  BOOST_TEST(archive.records().size() == 18u);
  check_throws<DataError>([&] { archive.text("archive_format", 2); }, {"[exported]", "\"archive_format\" has 3 bytes, more than 2"});
  check_throws<DataError>([&] { archive.text("models/other.json", 100); }, {"\"models/other.json\" is missing"});
}

BOOST_AUTO_TEST_CASE(both_widths_of_numbers_are_read) {
  const Fixture test;
  for (const bool wide : {false, true}) {
    auto entries = small();
    for (auto& entry : entries) entry.wide = wide;
    test.write(zip_text(entries, {.wide = wide}));
    BOOST_TEST(Archive(test.file).text("a", 5) == "hello");
  }
  // PyTorch aligns bytes by an extra field.
  auto entries = small();
  entries.back().header_extra = std::string("FB\6\0ZZZZZZ", 10);
  test.write(zip_text(entries));
  BOOST_TEST(Archive(test.file).text("a", 5) == "hello");
}

BOOST_AUTO_TEST_CASE(every_lie_of_a_zip_file_is_refused) {
  const Fixture test;
  const auto refuse = [&](const std::string& why, const std::function<void(ZipEntry&)>& change) {
    auto entries = small();
    change(entries.back());
    test.refuse(zip_text(entries), why);
  };
  refuse("has 5 bytes in the file, 6 unpacked", [](ZipEntry& e) { e.packed = 5, e.size = 6; });
  refuse("has 500 bytes at", [](ZipEntry& e) { e.size = e.header_size = 500; });
  refuse("is outside of the file", [](ZipEntry& e) { e.header = 4000; });
  refuse("its header at 3 is not one", [](ZipEntry& e) { e.header = 3; });
  refuse("has another name", [](ZipEntry& e) { e.header = 0; });
  refuse("has another name", [](ZipEntry& e) { e.header_name = "net/b"; });
  refuse("has other flags or another method", [](ZipEntry& e) { e.header_method = 8; });
  refuse("has other flags or another method", [](ZipEntry& e) { e.header_flags = 1; });
  refuse("has another size or checksum", [](ZipEntry& e) { e.header_size = 4; });
  refuse("has another size or checksum", [](ZipEntry& e) { e.header_checksum = 4; });
  refuse("is in part 1 of several", [](ZipEntry& e) { e.disk = 1; });
  refuse("has a damaged extra field", [](ZipEntry& e) { e.size = e.packed = UINT32_MAX; });
  refuse("has a damaged extra field", [](ZipEntry& e) { e.extra = std::string("FB\7\0ZZ", 6); });
  refuse("has a damaged extra field", [](ZipEntry& e) { e.extra = "FB"; });
  refuse("has 18446744073709551615 bytes at", [](ZipEntry& e) { e.wide = true, e.size = e.packed = e.header_size = UINT64_MAX; });
  refuse("is outside of the file", [](ZipEntry& e) { e.wide = true, e.header = UINT64_MAX; });

  auto twice = small();
  twice.push_back(twice.back());
  test.refuse(zip_text(twice), "\"net/a\" is there twice");
  // An entry that lies within another's bytes.
  auto nested = small();
  auto inner = nested.back();
  nested.back() = {.name = "net/b", .bytes = zip_text({inner})};
  inner.header = zip_text(nested).rfind("PK\3\4", zip_text(nested).find("hello")), inner.only_in_directory = true;
  nested.push_back(inner);
  test.refuse(zip_text(nested), "\"net/b\" and \"net/a\" overlap");
}

BOOST_AUTO_TEST_CASE(names_stay_inside_of_the_archive) {
  const Fixture test;
  for (const std::string name :
       {"/net/a", "net/../a", "../a", "net/./a", "net//a", "net/a/", "net\\a", "C:/a", "", "net/a\n", "net/\xff"}) {
    auto entries = small();
    entries.back().name = name;
    test.refuse(zip_text(entries), "an entry is named");
  }
  auto entries = small();
  entries.back().name = "other/a";
  test.refuse(zip_text(entries), "entries are in the folders \"net\" and \"other\", not in one");
}

BOOST_AUTO_TEST_CASE(the_end_of_a_zip_file_must_fit) {
  const Fixture test;
  const auto refuse = [&](const ZipEnd& end, const std::string& why) { test.refuse(zip_text(small(), end), why); };
  refuse({.comment = "hello"}, "without its end");
  refuse({.tail = "hello"}, "without its end");
  refuse({.disk = 1}, "in several parts");
  refuse({.before_end = "hello"}, "not before the end");
  refuse({.begin = 4}, "not before the end");
  refuse({.entries = 6}, "is damaged");
  refuse({.entries = 4}, "bytes after its last entry");
  refuse({.entries = 40000}, "for 40000 entries");
  refuse({.wide = true, .entries = UINT64_MAX}, "for 18446744073709551615 entries");
  refuse({.wide = true, .bytes = UINT64_MAX}, "does not end at the 64-bit record");
  refuse({.wide = true, .begin = UINT64_MAX}, "does not end at the 64-bit record");
  refuse({.wide = true, .record = 0}, "is not before its locator");
  refuse({.wide = true, .record = UINT64_MAX}, "is not before its locator");
  refuse({.wide = true, .wide_mark = 5}, "no 64-bit record");
  refuse({.wide = true, .disk = 1}, "in several parts");
  test.refuse(zip_text({}), "the archive is empty");
  test.refuse("", "0 bytes are too few");
  test.refuse(std::string(100, 'x'), "no zip file");
}

BOOST_AUTO_TEST_CASE(compressed_entries_are_refused) {
  const Fixture test;
  auto entries = small();
  entries.back().method = 8;
  test.unusable(zip_text(entries), "is compressed or encrypted (method 8, flags 0x0)");
  entries.back().method = 0, entries.back().flags = 1;
  test.unusable(zip_text(entries), "is compressed or encrypted (method 0, flags 0x1)");
}

BOOST_AUTO_TEST_CASE(other_files_are_named) {
  const Fixture test;
  check_throws<ConfigError>([] { Archive{structures / "state_dict.pt2"}; },
                            {"[exported]", "an archive of torch.save: weights without a graph", "torch.export.save"});
  auto entries = small();
  entries[0].bytes = "pt3";
  test.unusable(zip_text(entries), "its archive_format is \"pt3\", Levin reads \"pt2\"");
  entries = small();
  entries[1].bytes = "1";
  test.unusable(zip_text(entries), "its archive_version is \"1\"");
  entries = small();
  entries[2].bytes = "big";
  test.unusable(zip_text(entries), "its byteorder is \"big\"");
  entries = small();
  entries.erase(entries.begin());
  test.unusable(zip_text(entries), "no archive of torch.export");
  entries = small();
  entries.back().name = "net/data/aotinductor/model/a", entries.erase(entries.begin());
  test.unusable(zip_text(entries), "a package of AOTInductor");
  check_throws<DataError>([&] { Archive{test.folder.path / "missing.pt2"}; }, {"[exported]", "missing.pt2 is missing"});
  check_throws<DataError>([&] { Archive{test.folder.path}; }, {"[exported]", "is not a regular file"});
}

BOOST_AUTO_TEST_CASE(truncated_at_any_byte_is_refused) {
  const Fixture test;
  const auto whole = bytes_of_file(structures / "scalar.pt2");
  for (size_t bytes = 0; bytes < whole.size(); bytes += bytes < 64 || bytes + 512 > whole.size() ? 1 : 7) {
    test.write(whole.substr(0, bytes));
    BOOST_CHECK_THROW(Archive{test.file}, DataError);
  }
}

// A flip is refused, or changes nothing that is read: times, versions, entries of others.
BOOST_AUTO_TEST_CASE(flipped_bytes_change_no_model_in_silence) {
  const Fixture test;
  const auto whole = bytes_of_file(structures / "scalar.pt2");
  size_t refused = 0;
  for (size_t at = 0; at < whole.size(); at++) {
    auto text = whole;
    text[at] = static_cast<char>(text[at] ^ (1 << at % 8));
    test.write(text);
    try {
      const Archive archive(test.file);
      const auto model = levin::exported::read_model(archive);
      BOOST_REQUIRE_EQUAL(model.weights.size(), 1u);
      BOOST_TEST(at::equal(archive.load(model.weights[0]), at::ones({2})));
      BOOST_TEST(model.train->graph.nodes.size() == 2u);
      BOOST_TEST(model.train->graph.nodes[0].target == "torch.ops.aten.mul.Tensor");
    } catch (const levin::Error& error) {
      BOOST_TEST((error.exit_code() == levin::ExitCode::bad_data || error.exit_code() == levin::ExitCode::bad_config));
      refused++;
    }
  }
  BOOST_TEST(refused > whole.size() / 2);
}

BOOST_AUTO_TEST_CASE(weights_have_the_values_of_python) {
  const Archive archive(structures / "features.pt2");
  const auto weights = levin::exported::read_model(archive).weights;
  const auto same = [&](const std::string& name, const at::Tensor& expected) {
    const auto found = archive.load(find(weights, name));
    BOOST_TEST(at::equal(found, expected), name);
    BOOST_TEST((found.is_non_overlapping_and_dense() && found.storage().nbytes() == expected.nbytes()), name);
  };
  same("turned", at::arange(12, at::kFloat).reshape({3, 4}).t());
  same("left", at::arange(2, 5, at::kFloat));
  same("right", at::arange(5, 9, at::kFloat));
  same("expanded", at::ones({4}));
  same("empty", at::ones({0, 3}));
  same("scratch", at::full({3}, 2.0));
  same("flags", at::tensor(std::vector<int64_t>{1, 0, 1}).to(at::kBool));
  same("norm.num_batches_tracked", at::zeros({}, at::kLong));
}

BOOST_AUTO_TEST_CASE(damaged_weights_are_refused_when_they_are_loaded) {
  const Fixture test;
  const auto load = [&](const EditedArchive& edited, const std::string& name) {
    test.write(edited.text());
    const Archive archive(test.file);
    return archive.load(find(levin::exported::read_model(archive).weights, name));
  };
  EditedArchive edited(structures / "features.pt2");
  const auto record = [&](const std::string& name) {
    return find(levin::exported::read_model(Archive(structures / "features.pt2")).weights, name).record;
  };
  edited[record("flags")].bytes[1] = 2;
  check_throws<DataError>([&] { load(edited, "flags"); }, {"[exported]", "\"flags\" has the value 2, its dtype is bool"});
  edited[record("left")].checksum = edited[record("left")].header_checksum = 7;
  check_throws<DataError>([&] { load(edited, "left"); }, {"is damaged: its checksum is"});
  check_throws<DataError>([&] { load(edited, "right"); }, {"is damaged: its checksum is"});
  edited[record("turned")].checksum = edited[record("turned")].header_checksum = 7;
  check_throws<DataError>([&] { load(edited, "turned"); }, {"is damaged: its checksum is"});
}

BOOST_AUTO_TEST_SUITE_END()
