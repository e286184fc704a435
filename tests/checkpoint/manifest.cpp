#include "levin/checkpoint/manifest.h"

#include <xxhash.h>

#include <filesystem>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::DataError;
using levin::Hyperslab;
using levin::Manifest;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(checkpoint_manifest)

namespace {

Manifest sample() {
  Manifest manifest;
  manifest.step = 400;
  manifest.epoch = 3;
  manifest.saved_at = 1.75e9;
  manifest.fields = {{"val_loss", "0.25"}, {"a \"quoted\" ü", "\n"}};
  manifest.files = {{"state.h5", 10000, 0xfedcba9876543210}};
  manifest.datasets = {{"nothing", 0, 0, {}}, {"model/w", 4096, 100, {{64, 1}, {36, UINT64_MAX}}}, {"model/v", 4196, 10, {{10, 7}}}};
  return manifest;
}

// Of two files: v is whole in one, w is in both.
Manifest of_two_files() {
  Manifest manifest = sample();
  manifest.files = {{"state.0.h5", 10000, 1}, {"state.1.h5", 5000, 2}};
  manifest.datasets = {{"model/w", 4096, 40, {{40, 1}}, 0, Manifest::Part{Hyperslab::range(0, 10), {4, 5}}},
                       {"model/v", 4196, 10, {{10, 7}}, 1},
                       {"model/w", 4206, 40, {{40, 3}}, 1, Manifest::Part{Hyperslab::range(10, 20), {4, 5}}}};
  return manifest;
}

// A matrix of 4x6 in one file: elements [0, 3) of its first row, the rest of the row, and two boxes of the other rows.
Manifest with_boxes() {
  Manifest manifest = sample();
  const std::vector<int64_t> shape{4, 6};
  manifest.datasets = {{"model/w", 4096, 12, {{12, 1}}, 0, Manifest::Part{{{1, 0}, {3, 2}}, shape}},
                       {"model/v", 4196, 10, {{10, 7}}},
                       {"model/w", 4206, 3, {{3, 3}}, 0, Manifest::Part{Hyperslab::range(0, 3), shape}},
                       {"model/w", 4209, 3, {{3, 4}}, 0, Manifest::Part{{{0, 3}, {1, 3}}, shape}},
                       {"model/w", 4212, 24, {{24, 5}}, 0, Manifest::Part{{{1, 2}, {3, 4}}, shape}}};
  return manifest;
}

// The text with its checksum made right again.
std::string with_checksum(const std::string& text) {
  const size_t body = text.rfind(",\n\"checksum\":\"");
  return text.substr(0, body) + fmt::format(",\n\"checksum\":\"{:016x}\"}}\n", XXH3_64bits(text.data(), body));
}

// The text with something replaced: what a person with bad intentions would write.
std::string forged(const std::string& from, const std::string& to, const Manifest& manifest = sample()) {
  std::string text = manifest.to_text();
  const auto found = text.find(from);
  BOOST_REQUIRE_MESSAGE(found != std::string::npos, from);
  text.replace(found, from.size(), to);
  return with_checksum(text);
}

void refused(const std::string& from, const std::string& to, const std::string& why, const Manifest& manifest = sample()) {
  check_throws<DataError>([&] { Manifest::from_text(forged(from, to, manifest), "folder/manifest.json"); },
                          {"[checkpoint]", "folder/manifest.json", why});
}

}  // namespace

BOOST_AUTO_TEST_CASE(several_files) {
  const auto whole = of_two_files();
  BOOST_CHECK(Manifest::from_text(whole.to_text(), "m") == whole);
  BOOST_TEST(whole.file_bytes() == 15000u);
  BOOST_TEST(whole.datasets[2].stored_name() == "model/w/10-20");
  BOOST_TEST(whole.datasets[1].stored_name() == "model/v");
  BOOST_TEST(sample().to_text().find("\"version\":3,") != std::string::npos);
  BOOST_TEST(whole.to_text().find("\"version\":3,") != std::string::npos);
  const auto refused_with = [](auto change, const std::string& why) {
    auto manifest = of_two_files();
    change(manifest);
    check_throws<DataError>([&] { Manifest::from_text(manifest.to_text(), "folder/manifest.json"); }, {"folder/manifest.json", why});
  };
  for (const std::string name : {"../state.h5", "/etc/passwd", "", ".hidden"})
    refused_with([&](auto& manifest) { manifest.files[1].name = name; }, "which is not a plain name");
  refused_with([](auto& manifest) { manifest.files[1].name = "state.0.h5"; }, "has the file \"state.0.h5\" twice");
  refused_with([](auto& manifest) { manifest.files[0].bytes = INT64_MAX; }, "file sizes that overflow");
  refused_with([](auto& manifest) { manifest.datasets[1].file = 2; }, "into file 2 of 2");
  refused_with([](auto& manifest) { manifest.datasets[0].file = 1, manifest.datasets[1].file = 0; }, "out of order");
  refused_with([](auto& manifest) { manifest.datasets[2].offset = 4205; }, "overlaps another");
  refused_with([](auto& manifest) { manifest.datasets[2].offset = 4980; }, "leaves the file of 5000 bytes");
  refused_with([](auto& manifest) { manifest.datasets[1].name = "model/w"; }, "has \"model/w\" twice");
  refused_with([](auto& manifest) { manifest.datasets[2].part->shape = {20}; }, "has \"model/w\" twice");
  refused_with([](auto& manifest) { manifest.datasets.pop_back(); }, "has elements 10 of \"model/w\" missing or duplicated");
  refused_with([](auto& manifest) { manifest.datasets[2].part->slab = Hyperslab::range(9, 20); },
               "has elements 10 of \"model/w\" missing or duplicated");
  refused_with([](auto& manifest) { manifest.datasets[2].part->slab = Hyperslab::range(11, 20); },
               "has elements 10 of \"model/w\" missing or duplicated");
  refused_with([](auto& manifest) { manifest.datasets[2].part->slab = Hyperslab::range(10, 21); },
               "has elements [10, 21) of \"model/w\", which has 20");
  refused_with([](auto& manifest) { manifest.datasets[2].part->slab = Hyperslab::range(10, 10); }, "has elements [10, 10)");
  for (const auto set : {0, 2})
    refused_with(
        [&](auto& manifest) {
          manifest.datasets[static_cast<size_t>(set)].part->shape = {int64_t{1} << 40, int64_t{1} << 40};
        },
        "a shape that overflows");
}

BOOST_AUTO_TEST_CASE(boxes) {
  const auto whole = with_boxes();
  BOOST_CHECK(Manifest::from_text(whole.to_text(), "m") == whole);
  BOOST_TEST(whole.datasets[0].stored_name() == "model/w/1-4,0-2");
  BOOST_TEST(whole.datasets[2].stored_name() == "model/w/0-3");
  const auto refused_with = [](auto change, const std::string& why) {
    auto manifest = with_boxes();
    change(manifest);
    check_throws<DataError>([&] { Manifest::from_text(manifest.to_text(), "folder/manifest.json"); }, {"folder/manifest.json", why});
  };
  const auto refused_box = [&](const Hyperslab& box, const std::string& why) {
    refused_with([&](auto& manifest) { manifest.datasets[4].part->slab = box; }, why);
  };
  refused_box({{1, 2}, {3, 3}}, "has elements 11 of \"model/w\" missing or duplicated");
  refused_box({{1, 3}, {3, 3}}, "has elements 8 of \"model/w\" missing or duplicated");
  refused_box({{2, 2}, {2, 4}}, "has elements 8 of \"model/w\" missing or duplicated");
  refused_box({{1, 1}, {3, 5}}, "has elements 7 of \"model/w\" missing or duplicated");
  refused_box({{0, 2}, {4, 4}}, "has elements 2 of \"model/w\" missing or duplicated");
  refused_box(whole.datasets[0].part->slab, "has elements 6 of \"model/w\" missing or duplicated");
  refused_box(Hyperslab::range(8, 24), "has elements 12 of \"model/w\" missing or duplicated");
  const std::string outside = "of \"model/w\", whose shape is [4, 6]";
  for (const auto& box : std::vector<Hyperslab>{{{1, 2}, {4, 4}},
                                                {{1, 2}, {3, 5}},
                                                {{4, 2}, {3, 4}},
                                                {{INT64_MAX, 2}, {3, 4}},
                                                {{1, INT64_MAX}, {3, INT64_MAX}},
                                                {{1, 2}, {INT64_MAX, INT64_MAX}},
                                                {{1, 2}, {0, 4}},
                                                {{1, 2}, {3}},
                                                {{1}, {3, 4}},
                                                {{8}, {16}},
                                                {{1, 2, 0}, {3, 4, 1}},
                                                {{}, {}}})
    refused_box(box, outside);
  refused_with([](auto& manifest) { manifest.datasets.pop_back(); }, "has elements 8 of \"model/w\" missing or duplicated");
  refused_with([](auto& manifest) { manifest.datasets[4].part.reset(); }, "has \"model/w\" twice");
  refused_with([](auto& manifest) { manifest.datasets[4].part->shape = {6, 4}; }, "has elements at offset [1, 2] with extent [3, 4]");
  refused_with([](auto& manifest) { manifest.datasets[4].part->shape = {4, 7}; }, "has \"model/w\" twice");
  refused_with([](auto& manifest) { manifest.datasets[4].part->shape = {int64_t{1} << 40, int64_t{1} << 40}; }, "a shape that overflows");
  refused_with(
      [](auto& manifest) {
        for (auto& set : manifest.datasets)
          if (set.part) set.part = Manifest::Part{{std::vector<int64_t>(9, 0), std::vector<int64_t>(9, 1)}, std::vector<int64_t>(9, 2)};
      },
      "whose shape is [2, 2, 2, 2, 2, 2, 2, 2, 2]");
  const auto refused_text = [](const std::string& from, const std::string& to, const std::string& why) {
    refused(from, to, why, with_boxes());
  };
  refused_text("\"offset\":[1,2]", "\"offset\":[-1,2]", "has a \"offset\" that is not an integer in [0, 2^63)");
  refused_text("\"offset\":[1,2]", "\"offset\":[1,9223372036854775808]", "has a \"offset\" that is not an integer");
  refused_text("\"offset\":[1,2]", "\"offset\":[1,2.0]", "has a \"offset\" that is not an integer");
  refused_text("\"offset\":[1,2]", "\"offset\":12", "has a \"offset\" that is not a list");
  refused_text("\"offset\":[1,2],", "", "has no \"offset\"");
  refused_text("\"extent\":[3,4]", "\"extent\":[3,4],\"stride\":[2,2]", "an unknown \"stride\" in its box");
  refused_text("\"box\":{\"offset\":[1,2],\"extent\":[3,4]}", "\"box\":[1,2]", "has a box that is not an object");
  refused_text("\"box\":{\"offset\":[1,2]", "\"elements\":[8,24],\"box\":{\"offset\":[1,2]", "has both \"elements\" and \"box\"");
  refused_text("\"box\":{\"offset\":[1,2],\"extent\":[3,4]},", "", "has only one of \"elements\" and \"shape\"");
  refused_text("\"extent\":[3,4]},\"shape\":[4,6]", "\"extent\":[3,4]}", "has only one of \"box\" and \"shape\"");
  refused_text("\"version\":3", "\"version\":2", "has too few files: 1");
  refused_text("\"version\":3", "\"version\":1", "an unknown \"files\" in its manifest");
}

// As earlier versions wrote them.
BOOST_AUTO_TEST_CASE(earlier_versions) {
  const auto as_version = [](int version, Manifest manifest, std::vector<std::pair<std::string, std::string>> changes) {
    changes.emplace_back("\"version\":3", fmt::format("\"version\":{}", version));
    std::string text = manifest.to_text();
    for (const auto& [from, to] : changes)
      for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) text.replace(at, from.size(), to);
    const auto found = Manifest::from_text(with_checksum(text), "m");
    BOOST_TEST(found.version == version);
    manifest.version = version;
    BOOST_CHECK(found == manifest);
    BOOST_CHECK(Manifest::from_text(found.to_text(), "m").version == Manifest::newest_version);
  };
  as_version(1, sample(), {{"\"files\":[{", "\"file\":{"}, {"}],\n\"datasets\"", "},\n\"datasets\""}, {"\"file\":0,", ""}});
  as_version(2, of_two_files(), {});
  auto boxes = of_two_files();
  boxes.datasets[0].part->slab = {{0, 0}, {2, 5}};
  check_throws<DataError>([&] { Manifest::from_text(forged("\"version\":3", "\"version\":2", boxes), "m"); },
                          {"an unknown \"box\" in its data set"});
}

BOOST_AUTO_TEST_CASE(written_values_are_read_back) {
  BOOST_CHECK(Manifest::from_text(sample().to_text(), "m") == sample());
  Manifest empty;
  BOOST_CHECK(Manifest::from_text(empty.to_text(), "m") == empty);
}

BOOST_AUTO_TEST_CASE(any_flipped_bit_and_any_cut_is_noticed) {
  const std::string text = sample().to_text();
  for (size_t bit = 0; bit < text.size() * 8; bit++) {
    std::string damaged = text;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    BOOST_REQUIRE_THROW(Manifest::from_text(damaged, "m"), DataError);
  }
  for (size_t size = 0; size < text.size(); size++) BOOST_REQUIRE_THROW(Manifest::from_text(text.substr(0, size), "m"), DataError);
  BOOST_REQUIRE_THROW(Manifest::from_text(text + "\n", "m"), DataError);
}

BOOST_AUTO_TEST_CASE(a_later_version_is_detected) {
  refused("\"version\":3", "\"version\":4", "has version 4, this program reads versions up to 3");
  refused("\"version\":3", "\"version\":0", "has version 0");
}

BOOST_AUTO_TEST_CASE(the_file_lies_beside_it) {
  for (const std::string name : {"../state.h5", "/etc/passwd", "a/b", "", ".", "..", ".hidden", "a\\u0000b"})
    refused("\"state.h5\"", "\"" + name + "\"", "which is not a plain name");
}

BOOST_AUTO_TEST_CASE(data_sets_lie_inside_the_file_and_do_not_overlap) {
  refused("\"offset\":4196", "\"offset\":4195", "\"model/v\" at byte 4195");
  refused("\"offset\":4196", "\"offset\":9991", "leaves the file of 10000 bytes");
  refused("\"offset\":4196,\"bytes\":10", "\"offset\":4196,\"bytes\":9223372036854775807", "leaves the file");
  refused("\"offset\":4196,\"bytes\":10", "\"offset\":9223372036854775807,\"bytes\":10", "leaves the file");
  refused("[36,", "[37,", "blocks that do not fit \"model/w\"");
  refused("[36,", "[35,", "no checksum for 1 bytes of \"model/w\"");
  refused("[36,", "[0,", "blocks that do not fit");
  refused("\"model/v\"", "\"model/w\"", "has \"model/w\" twice");
}

BOOST_AUTO_TEST_CASE(it_is_strict) {
  refused("{\"format\"", "[\"format\"", "is not JSON");
  refused("levin-checkpoint", "another", "is not the manifest of a checkpoint");
  refused("\"step\":400", "\"step\":-1", "\"step\" that is not an integer");
  refused("\"step\":400", "\"step\":4e2", "\"step\" that is not an integer");
  refused("\"step\":400", "\"step\":18446744073709551615", "\"step\" that is not an integer");
  refused("\"step\":400", "\"step\":\"400\"", "\"step\" that is not an integer");
  refused("\"step\":400,", "", "has no \"step\"");
  refused("\"step\":400", "\"step\":400,\"step\":401", "has \"step\" twice");
  refused("\"step\":400", "\"step\":400,\"more\":0", "an unknown \"more\" in its manifest");
  refused("\"0.25\"", "0.25", "\"val_loss\" that is not a string");
  refused("\"offset\":4196", "\"offset\":4196,\"path\":\"/\"", "an unknown \"path\" in its data set");
  refused("[10,", "[10,1,", "a block of \"model/v\" that is not a pair");
  refused("fedcba9876543210", "FEDCBA9876543210", "is not 16 lower-case hexadecimal digits");
  refused("\"step\":400", "\"step\":" + std::string(100000, '['), "is nested too deeply");
  refused("val_loss", "val\xff", "is not JSON");
}

BOOST_AUTO_TEST_SUITE_END()
