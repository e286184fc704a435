// Damaged archives, in this process: each is an Error, or a model that runs; never a crash, in bounded time.
#include <ATen/ops/zeros.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "../../src/exported/archive.h"
#include "folder_of_ranks.h"
#include "levin/core/error.h"
#include "levin/exported/exported_program.h"
#include "levin/trainer/training_trial.h"
#include "levin_test.h"
#include "test_paths.h"
#include "zip_writer.h"

BOOST_AUTO_TEST_SUITE(exported_fuzz)

namespace {

using namespace levin::test;
using Json = nlohmann::ordered_json;

class Fuzzer {
 public:
  explicit Fuzzer(uint32_t seed) : random_(seed) {}

  size_t below(size_t end) { return std::uniform_int_distribution<size_t>(0, end - 1)(random_); }

  /// Bytes of a file: cut, or changed in some places.
  void damage(std::string& text) {
    if (below(3) == 0) text.resize(below(text.size() + 1));
    for (size_t i = below(20); i > 0 && !text.empty(); i--) text[below(text.size())] = static_cast<char>(below(256));
  }

  /// A value of a tree: removed, repeated, replaced by another or by what should not be there.
  void damage(Json& json) {
    std::vector<Json*> all;
    collect(json, all);
    auto& place = *all[below(all.size())];
    switch (below(4)) {
      case 0:
        if (!place.empty() && place.is_structured())
          place.erase(std::next(place.begin(), static_cast<std::ptrdiff_t>(below(place.size()))));
        return;
      case 1:
        if (place.is_array() && !place.empty()) place.push_back(Json(place[below(place.size())]));
        return;
      case 2: place = Json(*all[below(all.size())]); return;
      default: place = odd_values()[below(odd_values().size())];
    }
  }

 private:
  static void collect(Json& json, std::vector<Json*>& all) {
    all.push_back(&json);
    if (json.is_structured())
      for (auto& child : json) collect(child, all);
  }
  static const std::vector<Json>& odd_values() {
    static const std::vector<Json> values{nullptr,
                                          0,
                                          -1,
                                          int64_t{1} << 40,
                                          INT64_MAX,
                                          INT64_MIN,
                                          UINT64_MAX,
                                          1.5,
                                          "",
                                          "x",
                                          "tokens",
                                          "torch.ops.aten.relu.default",
                                          Json::array(),
                                          Json::object(),
                                          true,
                                          {{"as_int", -5}},
                                          {{"as_none", true}},
                                          {{"as_tensor", {{"name", "x"}}}},
                                          {{"as_int", int64_t{1} << 50}},
                                          std::string(100'000, 'a'),
                                          "Symbol('s24', positive=True, integer=True)"};
    return values;
  }

  std::mt19937 random_;
};

std::string whole_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// While it lives, this process gets no more than so many bytes beyond those that it has.
class MemoryLimit {
 public:
  explicit MemoryLimit(uint64_t bytes) {
    getrlimit(RLIMIT_AS, &before_);
    uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlimit limit{std::min<rlim_t>(pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) + bytes, before_.rlim_max), before_.rlim_max};
    setrlimit(RLIMIT_AS, &limit);
  }
  ~MemoryLimit() { setrlimit(RLIMIT_AS, &before_); }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  rlimit before_{};
};

/// A batch of three samples, where the export allows that; nothing where it is large.
std::optional<levin::Batch> small_batch(const std::vector<levin::ExportedTensor>& inputs) {
  constexpr int64_t most_elements = 100'000, samples = 3;
  levin::Batch batch;
  for (const auto& input : inputs) {
    std::vector<int64_t> sizes;
    int64_t elements = 1;
    for (const auto& dimension : input.shape) {
      const int64_t size = std::min(std::max(samples, dimension.min), dimension.max);
      if (size < 0 || (size > 0 && elements > most_elements / size)) return {};
      elements *= size;
      sizes.push_back(size);
    }
    batch.set(input.name, at::zeros(sizes, input.dtype));
  }
  return batch;
}

/// Whether the model took a step's forward pass.
bool runs(const std::filesystem::path& file) {
  levin::ExportedProgram program(file);
  const auto batch = small_batch(program.description().inputs);
  if (!batch) return false;
  const MemoryLimit limit(uint64_t{1} << 30);
  program.forward(*batch, /*training=*/true);
  return true;
}

}  // namespace

BOOST_AUTO_TEST_CASE(damaged_archives_end_in_an_error) {
  constexpr size_t damages = 3000;
  const std::vector<std::string> names{"features.pt2", "two_graphs.pt2", "scalar.pt2"};
  const auto structures = std::filesystem::path(LEVIN_TESTS) / "exported/structures";
  const FolderOfRanks folder;
  const auto file = folder.path / "net.pt2";
  Fuzzer fuzzer(1);
  size_t refused = 0, ran = 0;
  double longest = 0;
  for (size_t i = 0; i < damages; i++) {
    const auto good = structures / names[i % names.size()];
    EditedArchive edited(good);
    std::string text;
    switch (fuzzer.below(8)) {
      case 0: fuzzer.damage(text = whole_file(good)); break;
      case 1:  // with right checksums
        fuzzer.damage(edited.entries[fuzzer.below(edited.entries.size())].bytes);
        break;
      case 2: edited.entries.erase(edited.entries.begin() + static_cast<std::ptrdiff_t>(fuzzer.below(edited.entries.size()))); break;
      default: {
        std::vector<ZipEntry*> files;
        for (auto& entry : edited.entries)
          if (entry.name.ends_with(".json")) files.push_back(&entry);
        auto& chosen = *files[fuzzer.below(files.size())];
        auto json = Json::parse(chosen.bytes);
        for (size_t changes = 1 + fuzzer.below(3); changes > 0; changes--) fuzzer.damage(json);
        chosen.bytes = json.dump();
      }
    }
    std::ofstream(file, std::ios::binary) << (text.empty() ? edited.text() : text);
    const auto begin = std::chrono::steady_clock::now();
    try {
      const levin::exported::Archive archive(file);
      const auto model = levin::exported::read_model(archive);
      for (const auto& weight : model.weights) archive.load(weight);
      for (const auto& program : {model.train, model.eval})
        for (const auto& constant : program->constants) archive.load(constant);
      ran += runs(file) ? 1 : 0;
    } catch (const levin::Error& error) {
      const bool expected = error.exit_code() == levin::ExitCode::bad_data || error.exit_code() == levin::ExitCode::bad_config ||
                            levin::is_out_of_memory(error);
      BOOST_TEST(expected, i << ": " << error.what());
      BOOST_TEST(std::string(error.what()).starts_with("[exported] "), i << ": " << error.what());
      BOOST_TEST(std::string(error.what()).size() < 2000u, i << ": " << std::string(error.what()).substr(0, 2000));
      refused++;
    } catch (const std::exception& error) {
      BOOST_ERROR(i << " ended in another exception: " << error.what());
    }
    longest = std::max(longest, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  BOOST_TEST_MESSAGE(refused << " of " << damages << " refused, " << ran << " ran, the longest took " << longest << " s");
  BOOST_TEST(refused > damages / 2);
  BOOST_TEST(ran > 50u);
  BOOST_TEST(longest < 5);
}

BOOST_AUTO_TEST_SUITE_END()
