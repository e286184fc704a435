#include "levin/checkpoint/manifest.h"

#include <xxhash.h>

#include <filesystem>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::DataError;
using levin::Manifest;
using levin::test::check_throws;

namespace {

Manifest sample() {
  Manifest manifest;
  manifest.step = 400;
  manifest.epoch = 3;
  manifest.saved_at = 1.75e9;
  manifest.fields = {{"val_loss", "0.25"}, {"a \"quoted\" ü", "\n"}};
  manifest.file_bytes = 10000;
  manifest.metadata_hash = 0xfedcba9876543210;
  manifest.datasets = {{"nothing", 0, 0, {}}, {"model/w", 4096, 100, {{64, 1}, {36, UINT64_MAX}}}, {"model/v", 4196, 10, {{10, 7}}}};
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

BOOST_AUTO_TEST_SUITE(checkpoint_manifest)

BOOST_AUTO_TEST_CASE(what_is_written_is_read) {
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

BOOST_AUTO_TEST_CASE(a_later_version_is_told_apart) {
  refused("\"version\":1", "\"version\":2", "is of version 2, and this program reads version 1");
}

BOOST_AUTO_TEST_CASE(the_file_lies_beside_it) {
  for (const std::string name : {"../state.h5", "/etc/passwd", "a/b", "", ".", "..", ".hidden", "a\\u0000b"})
    refused("\"state.h5\"", "\"" + name + "\"", "which is not a plain name");
}

BOOST_AUTO_TEST_CASE(places_are_inside_the_file_and_apart) {
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
  refused("\"step\":400", "\"step\":-1", "\"step\" that is no whole number");
  refused("\"step\":400", "\"step\":4e2", "\"step\" that is no whole number");
  refused("\"step\":400", "\"step\":18446744073709551615", "\"step\" that is no whole number");
  refused("\"step\":400", "\"step\":\"400\"", "\"step\" that is no whole number");
  refused("\"step\":400,", "", "has no \"step\"");
  refused("\"step\":400", "\"step\":400,\"step\":401", "says \"step\" twice");
  refused("\"step\":400", "\"step\":400,\"more\":0", "an unknown \"more\" in its manifest");
  refused("\"0.25\"", "0.25", "\"val_loss\" that is no text");
  refused("\"offset\":4196", "\"offset\":4196,\"path\":\"/\"", "an unknown \"path\" in its data set");
  refused("[10,", "[10,1,", "a block of \"model/v\" that is no pair");
  refused("fedcba9876543210", "FEDCBA9876543210", "is not of 16 digits");
  refused("\"step\":400", "\"step\":" + std::string(100000, '['), "is nested too deeply");
  refused("val_loss", "val\xff", "is not JSON");
}

BOOST_AUTO_TEST_SUITE_END()
