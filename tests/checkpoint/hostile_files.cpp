// HDF5 files made by somebody who knows how to make a manifest, too: refused before anything of them is read.
#include <xxhash.h>

#include <random>
#include <sstream>

#include "checkpoint_sample.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "test_paths.h"

using namespace levin::test;
using levin::CheckpointReader;
using levin::DataError;
using levin::Manifest;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(checkpoint_hostile_files)

namespace {

/// A manifest that matches the file, whatever that is.
void forge_manifest(const fs::path& checkpoint, Manifest manifest = {}) {
  auto& file = manifest.files.front();
  const auto bytes = bytes_of(checkpoint / file.name);
  file.bytes = bytes.size();
  if (manifest.datasets.empty()) file.metadata_hash = XXH3_64bits(bytes.data(), bytes.size());
  write_bytes(checkpoint / Manifest::file_name, manifest.to_text());
}

struct Alone {
  std::unique_ptr<levin::Communicator> communicator = levin::Communicator::create_cpu(runtime());
  SharedFolder folder{*communicator};
};

}  // namespace

BOOST_AUTO_TEST_CASE(unexpected_hdf5_objects_are_refused) {
  Alone alone;
  const std::string tests = LEVIN_TESTS;
  std::stringstream cases(
      output_of("'" + tests + "/../tools/tests-python' '" + tests + "/checkpoint/hostile_files.py' '" + alone.folder.path.string() + "'"));
  int count = 0;
  for (std::string line; std::getline(cases, line); count++) {
    const auto tab = line.find('\t');
    const fs::path checkpoint = alone.folder.path / line.substr(0, tab);
    forge_manifest(checkpoint);
    check_throws<DataError>([&] { CheckpointReader{checkpoint}; }, {"[checkpoint]", (checkpoint / "state.h5").string(),
                                                                    line.substr(tab + 1), "use a checkpoint that Levin wrote"});
  }
  BOOST_TEST(count == 26);
}

BOOST_AUTO_TEST_CASE(manifest_and_hdf5_must_match) {
  Alone alone;
  const auto path = levin::CheckpointWriter(*alone.communicator, alone.folder.path).save({.name = "a"}, Sample(1, 0, 1, 10).state).path;
  const auto whole = CheckpointReader(path).manifest();
  const auto refused = [&](auto change, const std::string& why) {
    auto manifest = whole;
    change(manifest);
    // The bytes outside of data sets are others now.
    std::string metadata;
    const auto bytes = bytes_of(path / "state.h5");
    uint64_t begin = 0;
    for (const auto& set : manifest.datasets) {
      if (set.bytes == 0) continue;
      metadata += bytes.substr(begin, set.offset - begin);
      begin = set.offset + set.bytes;
    }
    metadata += bytes.substr(begin);
    manifest.files.front().metadata_hash = XXH3_64bits(metadata.data(), metadata.size());
    write_bytes(path / Manifest::file_name, manifest.to_text());
    check_throws<DataError>([&] { CheckpointReader{path}; }, {why});
  };
  const auto drop = [](Manifest::Dataset& set) {
    set.bytes = 0;
    set.offset = 0;
    set.blocks.clear();
  };
  refused([](auto& manifest) { manifest.datasets.pop_back(); }, "is in the file but not in the manifest");
  refused([](auto& manifest) { manifest.datasets.back().name = "another"; }, "\"another\" is in the manifest but not in the file");
  refused([&](auto& manifest) { drop(manifest.datasets.back()); }, " at byte ");
  refused([](auto& manifest) { std::swap(manifest.datasets.back().name, manifest.datasets[manifest.datasets.size() - 2].name); },
          "the manifest");
}

// HDF5's own bytes with one bit flipped, and a manifest that matches them: HDF5 or we must notice, or what is read is inside of the file.
BOOST_AUTO_TEST_CASE(damaged_metadata_with_a_good_manifest) {
  Alone alone;
  const auto path = levin::CheckpointWriter(*alone.communicator, alone.folder.path).save({.name = "a"}, Sample(1, 0, 1, 10).state).path;
  const auto whole = bytes_of(path / "state.h5");
  const auto manifest = CheckpointReader(path).manifest();
  std::mt19937_64 random(20261129);
  int refused = 0;
  for (int round = 0, all = rounds(); round < all; round++) {
    auto bytes = whole;
    const auto inside = [&](uint64_t byte) {
      return std::any_of(manifest.datasets.begin(), manifest.datasets.end(),
                         [&](const auto& set) { return byte >= set.offset && byte < set.offset + set.bytes; });
    };
    uint64_t byte = random() % whole.size();
    while (inside(byte) || whole[byte] == 0) byte = random() % whole.size();
    bytes[byte] = static_cast<char>(bytes[byte] ^ (1 << random() % 8));
    write_bytes(path / "state.h5", bytes);
    auto forged = manifest;
    std::string metadata;
    for (uint64_t at = 0; at < bytes.size(); at++)
      if (!inside(at)) metadata += bytes[at];
    forged.files.front().metadata_hash = XXH3_64bits(metadata.data(), metadata.size());
    forge_manifest(path, forged);
    try {
      CheckpointReader{path};
    } catch (const DataError&) {
      refused++;
    }
  }
  BOOST_TEST(refused > 0);
}

BOOST_AUTO_TEST_SUITE_END()
