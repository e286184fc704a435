#include "levin/checkpoint/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <random>
#include <sstream>

#include "checkpoint_sample.h"
#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "test_paths.h"

using namespace levin::test;
using levin::DataError;
using levin::SafetensorsReader;
using levin::TensorEntry;
namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(checkpoint_safetensors)

namespace {

/// A folder, and what Python's safetensors does in it.
struct Folder {
  std::unique_ptr<levin::Communicator> communicator = levin::Communicator::create_cpu(runtime());
  SharedFolder shared{*communicator};
  fs::path path = shared.path;
  bool first = communicator->rank() == 0;

  static std::string peer(const std::string& command, const fs::path& where) {
    const std::string tests = LEVIN_TESTS;
    return output_of("'" + tests + "/../tools/tests-python' '" + tests + "/checkpoint/safetensors_peer.py' " + command + " '" +
                     where.string() + "'");
  }
};

void write(const fs::path& file, const Sample& sample, const std::map<std::string, std::string>& metadata = {}) {
  levin::write_safetensors(file, sample.state.tensors, metadata, [&](size_t i, int64_t begin, int64_t end, void* memory) {
    const auto& tensor = sample.tensors[i];
    const auto element = static_cast<int64_t>(tensor.element_size());
    std::memcpy(memory, static_cast<const std::byte*>(tensor.const_data_ptr()) + begin * element,
                static_cast<size_t>((end - begin) * element));
  });
}

void check(const levin::TensorSource& source, const Sample& sample) {
  BOOST_TEST(source.tensors().size() == sample.tensors.size());
  for (size_t i = 0; i < sample.tensors.size(); i++) {
    const auto& entry = sample.state.tensors[i];
    BOOST_REQUIRE_MESSAGE(source.find(entry.name), entry.name);
    BOOST_CHECK_MESSAGE(*source.find(entry.name) == entry, entry.name);
    const auto got = at::empty({entry.numel()}, entry.dtype);
    const int64_t middle = entry.numel() / 3;
    auto* memory = static_cast<std::byte*>(got.mutable_data_ptr());
    source.read(entry.name, 0, middle, memory);
    source.read(entry.name, middle, entry.numel(), memory + middle * static_cast<int64_t>(got.element_size()));
    BOOST_CHECK_MESSAGE(at::equal(got, sample.tensors[i].flatten()), entry.name << " differs");
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(python_reads_what_we_write) {
  Folder folder;
  if (!folder.first) return;
  const auto file = folder.path / "a.safetensors";
  write(file, Sample(3, 0, 1, 10), {{"step", "3"}, {"quoted", "\"ü\""}});
  const auto text = Folder::peer("read", file);
  for (const std::string line :
       {"metadata {\"quoted\": \"\\\"\\u00fc\\\"\", \"step\": \"3\"}\n", "model/conv1.weight F32 (8, 3, 5, 5) 93 100 6 13 20 27 34 41\n",
        "model/conv1.bias F32 (8,) 93 100 6 13 20 27 34 41\n", "model/deep/er/weight F64 (70, 101) 93 100 6 13 20 27 34 41\n",
        "model/half F16 (33,) 93 100 6 13 20 27 34 41\n", "model/bfloat16 BF16 (7, 9) 93 100 6 13 20 27 34 41\n",
        "counts/int64 I64 () 93\n", "counts/int32 I32 (5,) 93 100 6 13 20\n", "counts/int16 I16 (2, 2) 93 100 6 13\n",
        "counts/int8 I8 (3,) 93 100 6\n", "rng/state U8 (5056,) 93 100 6 13 20 27 34 41\n", "mask BOOL (3, 5) 1 0 1 0 1 0 1 0\n",
        "nothing F32 (4, 0, 2)\n", "model/größer F32 (10,) 93 100 6 13 20 27 34 41\n"})
    BOOST_CHECK_MESSAGE(text.find(line) != std::string::npos, "\"" << line << "\" is not in: " << text);
  BOOST_TEST(std::count(text.begin(), text.end(), '\n') == 14);
}

BOOST_AUTO_TEST_CASE(all_ranks_read_what_python_writes) {
  Folder folder;
  const auto file = folder.path / "a.safetensors";
  if (folder.first) Folder::peer("write", file);
  folder.communicator->barrier();
  const SafetensorsReader reader(file, *folder.communicator);
  check(reader, Sample(3, 0, 1, 10));
  BOOST_TEST(reader.metadata() == (std::map<std::string, std::string>{{"step", "3"}, {"who", "ü"}}), boost::test_tools::per_element());
  const SafetensorsReader numpys(file.string() + ".numpy");
  BOOST_TEST((*numpys.find("a") == TensorEntry{"a", at::kFloat, {2, 3}}));
  BOOST_TEST((*numpys.find("b") == TensorEntry{"b", at::kBool, {2}}));
}

BOOST_AUTO_TEST_CASE(written_values_are_read_back) {
  Folder folder;
  const auto file = folder.path / "a.safetensors";
  const Sample sample(4, 0, 1, 5'000'000);  // more than a chunk
  if (folder.first) write(file, sample);
  folder.communicator->barrier();
  check(SafetensorsReader(file, *folder.communicator), sample);
  check(*levin::open_tensor_source(file, folder.communicator.get()), sample);
  if (folder.first) {
    write(file, Sample(5, 0, 1, 0));  // takes its place
    check(SafetensorsReader(file), Sample(5, 0, 1, 0));
    BOOST_TEST(names_in(folder.path) == std::vector<std::string>{"a.safetensors"});
    levin::write_safetensors(file, {}, {}, {});
    BOOST_TEST(SafetensorsReader(file).tensors().empty());
  }
}

BOOST_AUTO_TEST_CASE(a_source_is_a_folder_its_file_or_safetensors) {
  Folder folder;
  const auto communicator = folder.communicator.get();
  const auto path = levin::CheckpointWriter(*communicator, folder.path, {.fsync = false})
                        .save({.name = "c"}, Sample(1, communicator->rank(), communicator->size(), 10).state)
                        .path;
  for (const auto& where : {path, path / "state.h5"}) {
    const auto source = levin::open_tensor_source(where, communicator);
    check(*source, Sample(1, 0, 1, 10));
    BOOST_TEST(source->weights_prefix() == "model/");
    const auto weights = source->with_prefix("model/");
    BOOST_TEST(weights.size() == 6);
    BOOST_TEST(weights.at("conv1.bias")->name == "model/conv1.bias");
  }
}

BOOST_AUTO_TEST_CASE(alone_without_a_communicator) {
  Folder folder;
  if (!folder.first) return;
  levin::CheckpointWriter writer(folder.path, {.fsync = false, .write_last = false});
  check(levin::CheckpointReader(writer.save({.name = "a"}, Sample(1, 0, 1, 10).state).path), Sample(1, 0, 1, 10));
  writer.save_async({.name = "b"}, Sample(2, 0, 1, 10).state);
  check(levin::CheckpointReader(writer.finish()->path), Sample(2, 0, 1, 10));
}

BOOST_AUTO_TEST_CASE(hostile_files_are_refused_on_all_ranks) {
  Folder folder;
  if (folder.first) write_bytes(folder.path / "cases", Folder::peer("hostile", folder.path));
  folder.communicator->barrier();
  std::stringstream cases(bytes_of(folder.path / "cases"));
  int count = 0;
  for (std::string line; std::getline(cases, line); count++) {
    const auto tab = line.find('\t'), last = line.rfind('\t');
    const auto file = folder.path / (line.substr(0, tab) + ".safetensors");
    const std::vector<std::string> parts{"[checkpoint] ", file.string(), line.substr(tab + 1, last - tab - 1), "; ", line.substr(last + 1)};
    check_throws<DataError>([&] { SafetensorsReader(file, *folder.communicator); }, parts);
    if (folder.first) check_throws<DataError>([&] { SafetensorsReader{file}; }, parts);
  }
  BOOST_TEST(count == 51);
  check_throws<DataError>([&] { levin::open_tensor_source(folder.path / "none.safetensors", folder.communicator.get()); },
                          {"none.safetensors is missing"});
}

// Valid files that are easily refused: Python's safetensors reads them, too.
BOOST_AUTO_TEST_CASE(odd_files_are_read) {
  Folder folder;
  if (folder.first) Folder::peer("odd", folder.path);
  folder.communicator->barrier();
  for (const std::string name : {"null_metadata", "empty_metadata", "fp8", "complex"}) {
    const SafetensorsReader reader(folder.path / (name + ".safetensors"), *folder.communicator);
    BOOST_TEST(reader.metadata().empty());
    float value = 0;
    reader.read("w", 0, 1, &value);
    BOOST_TEST(value == 1);
  }
  // Of a dtype that is not loaded the rest of the file can still be read.
  const SafetensorsReader fp8(folder.path / "fp8.safetensors");
  BOOST_TEST((*fp8.find("q") == TensorEntry{"q", at::ScalarType::Float8_e4m3fn, {4}}));
  BOOST_TEST((*fp8.find("e") == TensorEntry{"e", at::ScalarType::Float8_e8m0fnu, {}}));
  double memory = 0;
  check_throws<DataError>([&] { fp8.read("q", 0, 4, &memory); },
                          {"has \"q\" of dtype float8_e4m3fn, which Levin does not load", "; convert it"});
  check_throws<DataError>([&] { SafetensorsReader(folder.path / "complex.safetensors").read("c", 0, 1, &memory); },
                          {"\"c\" of dtype complex64"});
}

BOOST_AUTO_TEST_CASE(folders_and_links_as_sources) {
  Folder folder;
  auto* communicator = folder.communicator.get();
  if (folder.first) {
    fs::create_directories(folder.path / "single");
    fs::create_directories(folder.path / "several");
    fs::create_directories(folder.path / "neither");
    write(folder.path / "single/model.safetensors", Sample(3, 0, 1, 10));
    for (const auto* part : {"model-1.safetensors", "model-2.safetensors"}) write(folder.path / "several" / part, Sample(3, 0, 1, 10));
    write_bytes(folder.path / "several/model.safetensors.index.json", "{\"weight_map\": {}}");
    fs::create_symlink("single/model.safetensors", folder.path / "link.safetensors");
  }
  communicator->barrier();
  check(*levin::open_tensor_source(folder.path / "link.safetensors", communicator), Sample(3, 0, 1, 10));
  const auto refused = [&](const std::string& name, const std::vector<std::string>& parts) {
    check_throws<DataError>([&] { levin::open_tensor_source(folder.path / name, communicator); }, parts);
  };
  refused("single", {"[checkpoint] ", "a folder with a safetensors file, not a checkpoint; give the file: ", "single/model.safetensors"});
  refused("several", {"a folder with 2 safetensors files, not a checkpoint; give the index: ", "several/model.safetensors.index.json"});
  refused("several/model.safetensors.index.json", {"several/model.safetensors.index.json lists no tensors"});
  communicator->barrier();
  if (folder.first) fs::remove(folder.path / "several/model.safetensors.index.json");
  communicator->barrier();
  refused("several", {"a folder with 2 safetensors files, not a checkpoint; give its model.safetensors.index.json, or merge the files"});
  refused("neither", {"neither/manifest.json is missing"});
}

BOOST_AUTO_TEST_CASE(a_model_in_several_files) {
  Folder folder;
  auto* communicator = folder.communicator.get();
  if (folder.first) write_bytes(folder.path / "cases", Folder::peer("several", folder.path));
  communicator->barrier();
  const auto index_of = [&](const std::string& name) { return folder.path / name / "model.safetensors.index.json"; };
  const auto source = levin::open_tensor_source(index_of("good"), communicator);
  BOOST_TEST(source->path() == index_of("good"));
  BOOST_TEST(source->tensors().size() == 3);
  for (const auto& [name, first] : {std::pair{"a", 0}, {"b", 6}, {"c", 12}}) {
    BOOST_REQUIRE(source->find(name));
    BOOST_TEST((*source->find(name) == TensorEntry{name, at::kFloat, {2, 3}}));
    std::vector<float> values(4);
    source->read(name, 1, 5, values.data());
    for (int i = 0; i < 4; i++) BOOST_TEST(values[static_cast<size_t>(i)] == static_cast<float>(first + 1 + i));
  }
  const auto metadata = dynamic_cast<const SafetensorsReader&>(*source).metadata();
  BOOST_TEST(metadata.at("format") == "pt");
  BOOST_TEST(metadata.at("part1") == "model-00002-of-00002.safetensors");
  std::stringstream cases(bytes_of(folder.path / "cases"));
  int count = 0;
  for (std::string line; std::getline(cases, line); count++) {
    const auto tab = line.find('\t');
    const std::vector<std::string> parts{"[checkpoint] ", (folder.path / line.substr(0, tab)).string(), line.substr(tab + 1), "; "};
    BOOST_TEST_CONTEXT(line)
    check_throws<DataError>([&] { levin::open_tensor_source(index_of(line.substr(0, tab)), communicator); }, parts);
  }
  BOOST_TEST(count == 17);
}

// All bytes, by the format's definition: sign, exponent, mantissa.
BOOST_AUTO_TEST_CASE(fp8_is_read_for_a_caller_who_converts_it) {
  Folder folder;
  if (!folder.first) return;
  const auto file = folder.path / "a.safetensors";
  const std::vector<TensorEntry> entries{{"e4m3", at::ScalarType::Float8_e4m3fn, {256}}, {"e5m2", at::ScalarType::Float8_e5m2, {256}}};
  levin::write_safetensors(file, entries, {}, [](size_t, int64_t begin, int64_t end, void* memory) {
    for (int64_t i = begin; i < end; i++) static_cast<uint8_t*>(memory)[i - begin] = static_cast<uint8_t>(i);
  });
  const SafetensorsReader reader(file, {.read_fp8 = true});
  for (const auto& entry : entries) {
    const auto stored = at::empty({256}, entry.dtype);
    reader.read(entry.name, 0, 256, stored.mutable_data_ptr());
    const auto converted = at::empty({256}, at::kDouble).copy_(stored);
    const int mantissa_bits = entry.name == "e4m3" ? 3 : 2, bias = entry.name == "e4m3" ? 7 : 15;
    for (int byte = 0; byte < 256; byte++) {
      const int exponent = (byte & 127) >> mantissa_bits, mantissa = byte & ((1 << mantissa_bits) - 1);
      const double fraction = std::ldexp(mantissa, -mantissa_bits), sign = byte < 128 ? 1 : -1;
      const double right = sign * (exponent > 0 ? std::ldexp(1 + fraction, exponent - bias) : std::ldexp(fraction, 1 - bias));
      const double got = converted[byte].item<double>();
      const bool special = entry.name == "e4m3" ? (byte & 127) == 127 : exponent == 31;
      if (special)
        BOOST_TEST((entry.name == "e5m2" && mantissa == 0 ? std::isinf(got) : std::isnan(got)));
      else
        BOOST_TEST(got == right);
    }
  }
  std::vector<std::byte> memory(256);
  check_throws<DataError>([&] { SafetensorsReader(file).read("e4m3", 0, 256, memory.data()); },
                          {"float8_e4m3fn, which Levin does not load"});
}

// Noticed, or all that is read is inside of the file.
BOOST_AUTO_TEST_CASE(any_flipped_bit_of_the_header_does_no_harm) {
  Folder folder;
  if (!folder.first) return;
  const auto file = folder.path / "a.safetensors";
  write(file, Sample(1, 0, 1, 10), {{"step", "1"}});
  const auto whole = bytes_of(file);
  uint64_t header = 0;
  std::memcpy(&header, whole.data(), sizeof header);
  std::mt19937_64 random(20261125);
  int refused = 0;
  std::vector<std::byte> memory(whole.size());
  for (int round = 0; round < 2000; round++) {
    const uint64_t bit = random() % ((header + 8) * 8);
    flip(file, bit);
    try {
      const SafetensorsReader reader(file);
      for (const auto& tensor : reader.tensors()) reader.read(tensor.name, 0, tensor.numel(), memory.data());
    } catch (const DataError&) {
      refused++;
    }
    flip(file, bit);
  }
  BOOST_TEST(refused > 1000);
  for (size_t bytes = 0; bytes < whole.size(); bytes += 97) {
    write_bytes(file, whole.substr(0, bytes));
    BOOST_CHECK_THROW(SafetensorsReader{file}, DataError);
  }
}

BOOST_AUTO_TEST_CASE(missing_tensors_cannot_be_read) {
  Folder folder;
  if (!folder.first) return;
  const auto file = folder.path / "a.safetensors";
  write(file, Sample(1, 0, 1, 10));
  const SafetensorsReader reader(file);
  std::vector<std::byte> memory(1000);
  check_throws<DataError>([&] { reader.read("none", 0, 1, memory.data()); }, {"has no tensor \"none\""});
  for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{{-1, 1}, {0, 9}, {5, 4}, {INT64_MIN, INT64_MAX}})
    check_throws<DataError>([&] { reader.read("model/conv1.bias", begin, end, memory.data()); },
                            {"has 8 elements in \"model/conv1.bias\""});
  fs::resize_file(file, fs::file_size(file) - 1);  // while it is open
  const auto& last = reader.tensors().back();
  memory.resize(static_cast<size_t>(last.bytes()));
  check_throws<DataError>([&] { reader.read(last.name, 0, last.numel(), memory.data()); }, {"ends at byte", "too early"});
}

BOOST_AUTO_TEST_CASE(a_bool_is_one_of_two) {
  Folder folder;
  if (!folder.first) return;
  const auto file = folder.path / "a.safetensors";
  levin::write_safetensors(file, {{"a", at::kBool, {1}}}, {}, [](size_t, int64_t, int64_t, void* memory) { std::memset(memory, 2, 1); });
  bool value = false;
  check_throws<DataError>([&] { SafetensorsReader(file).read("a", 0, 1, &value); },
                          {"has the value 2 in \"a\", whose dtype is bool", "save it as uint8"});
}

BOOST_AUTO_TEST_CASE(a_failed_write_leaves_what_was_there) {
  Folder folder;
  if (!folder.first) return;
  const auto file = folder.path / "a.safetensors";
  write(file, Sample(1, 0, 1, 10));
  const auto before = bytes_of(file);
  const auto never = [](size_t, int64_t, int64_t, void*) { throw std::runtime_error("not read"); };
  BOOST_CHECK_THROW(levin::write_safetensors(file, {{"a", at::kFloat, {3}}}, {}, never), std::runtime_error);
  for (const std::string name : {"", "__metadata__", "two\nlines", "\xff"})
    check_throws<levin::UsageError>(
        [&] {
          levin::write_safetensors(file, {{name, at::kFloat, {}}}, {}, never);
        },
        {"is not a valid name for a tensor"});
  check_throws<levin::UsageError>(
      [&] {
        levin::write_safetensors(file, {{"a", at::kFloat, {}}, {"a", at::kLong, {}}}, {}, never);
      },
      {"\"a\" is given twice"});
  check_throws<levin::UsageError>(
      [&] {
        levin::write_safetensors(file, {{"a", at::kComplexDouble, {}}}, {}, never);
      },
      {"which safetensors does not support"});
  BOOST_TEST(bytes_of(file) == before);
  BOOST_TEST(names_in(folder.path) == std::vector<std::string>{"a.safetensors"});
  fs::create_directory(folder.path / "d");
  check_throws<levin::IoError>([&] { write(folder.path / "d", Sample(1, 0, 1, 10)); }, {"cannot replace"});
  check_throws<levin::IoError>([&] { write(folder.path / "none/a", Sample(1, 0, 1, 10)); }, {"cannot create"});
  BOOST_TEST(names_in(folder.path) == (std::vector<std::string>{"a.safetensors", "d"}));
}

BOOST_AUTO_TEST_SUITE_END()
