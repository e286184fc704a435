#include "safetensors_index.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "file.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

using IndexJson = nlohmann::json;

constexpr uint64_t most_index_bytes = 100'000'000;
constexpr auto map_name = "weight_map";
constexpr auto download_again = "copy or download the index again";

class IndexParser {
 public:
  IndexParser(const std::filesystem::path& path, const char* tag) : path_(path), tag_(tag) {}

  SafetensorsIndex parse(std::string_view text) {
    if (text.find('\0') != std::string_view::npos) refuse("has a zero byte");
    try {
      const IndexJson rest = IndexJson::parse(
          text, [this](int depth, IndexJson::parse_event_t event, IndexJson& value) { return check_event(depth, event, value); });
    } catch (const IndexJson::exception& error) {
      refuse(fmt::format("is not JSON: {}", sanitized(error.what())));
    }
    if (index_.file_of.empty()) refuse(fmt::format("lists no tensors in \"{}\"", map_name));
    return std::move(index_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why, const std::string& remedy = download_again) const {
    throw DataError(fmt::format("{} {}", path_.string(), why), remedy, tag_);
  }

  // Depth 1: the members of the index; 2: the tensors of its map. What is elsewhere is skipped.
  bool check_event(int depth, IndexJson::parse_event_t event, IndexJson& value) {
    using Event = IndexJson::parse_event_t;
    if (depth == 0) {
      if (event == Event::array_start || event == Event::value) refuse("is not a JSON object");
      return true;
    }
    if (depth == 1 && event == Event::key) {
      section_ = value.get<std::string>();
      if (section_ == map_name && std::exchange(seen_, true)) refuse(fmt::format("has \"{}\" twice", map_name));
      return true;
    }
    if (section_ != map_name) return false;
    if (depth == 1) {
      if (event == Event::value || event == Event::array_start) refuse(fmt::format("has a \"{}\" that is not an object", map_name));
      return true;
    }
    if (event == Event::key) {
      name_ = value.get<std::string>();
      return true;
    }
    if (event != Event::value || !value.is_string()) refuse(fmt::format("has no file name for {}", quote(name_)));
    add(value.get<std::string>());
    return false;
  }

  void add(const std::string& file) {
    const std::filesystem::path part = file;
    if (first_bad_byte(file) != std::string::npos || part.filename() != part || part == "." || part == ".." ||
        part.extension() != ".safetensors")
      refuse(fmt::format("has {} in {}, which is not the name of a safetensors file in its folder", quote(name_), quote(file)));
    if (!index_.file_of.emplace(name_, file).second) refuse(fmt::format("has {} twice", quote(name_)));
  }

  const std::filesystem::path& path_;
  const char* tag_;
  std::string section_, name_;
  bool seen_ = false;
  SafetensorsIndex index_;
};

}  // namespace

bool SafetensorsIndex::is_index(const std::filesystem::path& path) { return path.filename().string().ends_with(".index.json"); }

std::string SafetensorsIndex::read_text(const std::filesystem::path& path, const char* tag) {
  std::error_code error;
  const auto real = std::filesystem::canonical(path, error);
  const auto file = File::open_to_read(error ? path : real, tag);
  const uint64_t size = file.size();
  if (size > most_index_bytes)
    throw DataError(fmt::format("{} has {} bytes, more than {}", path.string(), size, most_index_bytes),
                    "give an index of safetensors files", tag);
  std::string text(size, '\0');
  file.read_at(text.data(), text.size(), 0);
  return text;
}

SafetensorsIndex SafetensorsIndex::from_text(std::string_view text, const std::filesystem::path& path, const char* tag) {
  return IndexParser(path, tag).parse(text);
}

}  // namespace levin::detail
