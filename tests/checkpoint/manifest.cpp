#include "levin/checkpoint/manifest.h"

#include <xxhash.h>

#include <filesystem>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::DataError;
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
  manifest.datasets = {{"model/w", 4096, 40, {{40, 1}}, 0, Manifest::Part{0, 10, {4, 5}}},
                       {"model/v", 4196, 10, {{10, 7}}, 1},
                       {"model/w", 4206, 40, {{40, 3}}, 1, Manifest::Part{10, 20, {4, 5}}}};
  return manifest;
}

// The text with something replaced and its checksum made right again: what a person with bad intentions would write.
std::string forged(const std::string& from, const std::string& to) {
  std::string text = sample().to_text();
  const auto found = text.find(from);
  BOOST_REQUIRE_MESSAGE(found != std::string::npos, from);
  text.replace(found, from.size(), to);
  const size_t body = text.rfind(",\n\"checksum\":\"");
  return text.substr(0, body) + fmt::format(",\n\"checksum\":\"{:016x}\"}}\n", XXH3_64bits(text.data(), body));
}

void refused(const std::string& from, const std::string& to, const std::string& why) {
  check_throws<DataError>([&] { Manifest::from_text(forged(from, to), "folder/manifest.json"); },
                          {"[checkpoint]", "folder/manifest.json", why});
}

}  // namespace

BOOST_AUTO_TEST_CASE(several_files) {
  const auto whole = of_two_files();
  BOOST_CHECK(Manifest::from_text(whole.to_text(), "m") == whole);
  BOOST_TEST(whole.file_bytes() == 15000u);
  BOOST_TEST(whole.datasets[2].stored_name() == "model/w/10-20");
  BOOST_TEST(whole.datasets[1].stored_name() == "model/v");
  BOOST_TEST(sample().to_text().find("\"version\":1,") != std::string::npos);
  BOOST_TEST(whole.to_text().find("\"version\":2,") != std::string::npos);
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
  refused_with([](auto& manifest) { manifest.datasets[2].part->begin = 9; }, "has elements 10 of \"model/w\" missing or duplicated");
  refused_with([](auto& manifest) { manifest.datasets[2].part->begin = 11; }, "has elements 10 of \"model/w\" missing or duplicated");
  refused_with([](auto& manifest) { manifest.datasets[2].part->end = 21; }, "has elements [10, 21) of \"model/w\", which has 20");
  refused_with([](auto& manifest) { manifest.datasets[2].part->end = 10; }, "has elements [10, 10)");
  for (const auto set : {0, 2})
    refused_with(
        [&](auto& manifest) {
          manifest.datasets[static_cast<size_t>(set)].part->shape = {int64_t{1} << 40, int64_t{1} << 40};
        },
        "a shape that overflows");
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
  refused("\"version\":1", "\"version\":3", "has version 3, this program reads versions up to 2");
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
