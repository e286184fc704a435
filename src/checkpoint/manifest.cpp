#include "levin/checkpoint/manifest.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "../core/file.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view format_name = "levin-checkpoint", before_checksum = ",\n\"checksum\":\"", after_checksum = "\"}\n";
constexpr size_t hash_digits = 16, most_bytes = size_t{1} << 30;
constexpr int most_depth = 8;

std::string hash_text(uint64_t hash) { return fmt::format("{:016x}", hash); }

/// Reads with the names of what it reads, and nothing but what is of the right type.
class Reader {
 public:
  explicit Reader(std::filesystem::path path) : path_(std::move(path)) {}

  [[noreturn]] void refuse(const std::string& why, const std::string& remedy = "use another checkpoint") const {
    throw DataError(fmt::format("{} {}", path_.string(), why), remedy, "checkpoint");
  }
  const Json& member(const Json& object, const char* name) const {
    const auto found = object.find(name);
    if (found == object.end()) refuse(fmt::format("has no \"{}\"", name));
    return *found;
  }
  void members_are(const Json& object, std::initializer_list<std::string_view> known, const char* what) const {
    if (!object.is_object()) refuse(fmt::format("has a {} that is no object", what));
    for (const auto& [name, value] : object.items())
      if (std::find(known.begin(), known.end(), name) == known.end()) refuse(fmt::format("has an unknown {} in its {}", shown(name), what));
  }
  uint64_t whole_number(const Json& object, const char* name) const { return whole_number_in(member(object, name), name); }
  uint64_t whole_number_in(const Json& value, const char* name) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      refuse(fmt::format("has a \"{}\" that is no whole number from 0 to 2^63 - 1", name));
    return value.get<uint64_t>();
  }
  std::string text(const Json& object, const char* name) const { return text_in(member(object, name), name); }
  std::string text_in(const Json& value, const char* name) const {
    if (!value.is_string()) refuse(fmt::format("has a \"{}\" that is no text", name));
    return value.get<std::string>();
  }
  uint64_t hash(const Json& value) const {
    const std::string digits = text_in(value, "hash");
    if (digits.size() != hash_digits || digits.find_first_not_of("0123456789abcdef") != std::string::npos)
      refuse(fmt::format("has a checksum {} that is not of {} digits", shown(digits), hash_digits));
    return std::stoull(digits, nullptr, 16);
  }
  const Json& list(const Json& object, const char* name) const {
    const Json& value = member(object, name);
    if (!value.is_array()) refuse(fmt::format("has \"{}\" that is no list", name));
    return value;
  }

 private:
  std::filesystem::path path_;
};

// Strict: no key twice, nothing nested deeper than a manifest is.
Json parse(std::string_view text, const Reader& reader) {
  std::vector<std::set<std::string>> names;
  const auto look = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > most_depth) reader.refuse("is nested too deeply");
    if (event == Json::parse_event_t::object_start) names.emplace_back();
    if (event == Json::parse_event_t::object_end) names.pop_back();
    if (event == Json::parse_event_t::key && !names.back().insert(value.get<std::string>()).second)
      reader.refuse(fmt::format("says {} twice", shown(value.get<std::string>())));
    return true;
  };
  try {
    return Json::parse(text, look);
  } catch (const Json::exception& error) {
    reader.refuse(fmt::format("is not JSON: {}", printable(error.what())));
  }
}

Manifest::Dataset read_dataset(const Json& json, uint64_t end_before, uint64_t file_bytes, const Reader& reader) {
  reader.members_are(json, {"name", "offset", "bytes", "blocks"}, "data set");
  Manifest::Dataset set{reader.text(json, "name"), reader.whole_number(json, "offset"), reader.whole_number(json, "bytes"), {}};
  if (set.bytes > 0 && (set.offset < end_before || set.offset > file_bytes || set.bytes > file_bytes - set.offset))
    reader.refuse(fmt::format("puts {} at byte {} ({} bytes), which overlaps another or leaves the file of {} bytes", shown(set.name),
                              set.offset, set.bytes, file_bytes));
  uint64_t left = set.bytes;
  for (const auto& block : reader.list(json, "blocks")) {
    if (!block.is_array() || block.size() != 2) reader.refuse(fmt::format("has a block of {} that is no pair", shown(set.name)));
    const uint64_t bytes = reader.whole_number_in(block[0], "block");
    if (bytes == 0 || bytes > left) reader.refuse(fmt::format("has blocks that do not fit {}", shown(set.name)));
    left -= bytes;
    set.blocks.push_back({bytes, reader.hash(block[1])});
  }
  if (left > 0) reader.refuse(fmt::format("has no checksum for {} bytes of {}", left, shown(set.name)));
  return set;
}

}  // namespace

std::string Manifest::to_text() const {
  Json json;
  json["format"] = format_name;
  json["version"] = newest_version;
  json["step"] = step;
  json["epoch"] = epoch;
  json["saved_at"] = saved_at;
  json["fields"] = Json::object();
  for (const auto& [name, value] : fields) json["fields"][name] = value;
  json["file"] = {{"name", file}, {"bytes", file_bytes}, {"metadata", hash_text(metadata_hash)}};
  // One line a data set: a person can look for a name, and a diff stays small.
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.pop_back();
  text += ",\n\"datasets\":[";
  for (const auto& set : datasets) {
    text += &set == datasets.data() ? "\n" : ",\n";
    text += fmt::format("{{\"name\":{},\"offset\":{},\"bytes\":{},\"blocks\":[",
                        Json(set.name).dump(-1, ' ', false, Json::error_handler_t::replace), set.offset, set.bytes);
    for (const auto& block : set.blocks)
      text += fmt::format("{}[{},\"{}\"]", &block == set.blocks.data() ? "" : ",", block.bytes, hash_text(block.hash));
    text += "]}";
  }
  text += "]";
  const std::string checksum = hash_text(XXH3_64bits(text.data(), text.size()));
  return text.append(before_checksum).append(checksum).append(after_checksum);
}

Manifest Manifest::from_text(std::string_view text, const std::filesystem::path& path) {
  const Reader reader(path);
  const size_t tail = before_checksum.size() + hash_digits + after_checksum.size();
  if (text.size() < tail) reader.refuse(fmt::format("has {} bytes and is no manifest", text.size()));
  const auto body = text.substr(0, text.size() - tail), end = text.substr(body.size());
  if (!end.starts_with(before_checksum) || !end.ends_with(after_checksum))
    reader.refuse("does not end with its checksum: it is damaged or cut off");
  if (end.substr(before_checksum.size(), hash_digits) != hash_text(XXH3_64bits(body.data(), body.size())))
    reader.refuse("does not match its checksum: it is damaged");

  const Json json = parse(text, reader);
  if (!json.is_object() || reader.text(json, "format") != format_name) reader.refuse("is not the manifest of a checkpoint");
  if (const auto version = reader.whole_number(json, "version"); version != static_cast<uint64_t>(newest_version))
    reader.refuse(fmt::format("is of version {}, and this program reads version {}", version, newest_version),
                  "use the Levin that wrote it, or a later one");
  reader.members_are(json, {"format", "version", "step", "epoch", "saved_at", "fields", "file", "datasets", "checksum"}, "manifest");

  Manifest manifest;
  manifest.step = static_cast<int64_t>(reader.whole_number(json, "step"));
  manifest.epoch = static_cast<int64_t>(reader.whole_number(json, "epoch"));
  const Json& saved_at = reader.member(json, "saved_at");
  if (!saved_at.is_number()) reader.refuse("has a \"saved_at\" that is no number");
  manifest.saved_at = saved_at.get<double>();
  const Json& fields = reader.member(json, "fields");
  if (!fields.is_object()) reader.refuse("has \"fields\" that are no object");
  for (const auto& [name, value] : fields.items()) manifest.fields[name] = reader.text_in(value, name.c_str());

  const Json& file = reader.member(json, "file");
  reader.members_are(file, {"name", "bytes", "metadata"}, "file");
  manifest.file = reader.text(file, "name");
  // Only what lies beside the manifest, whatever the name says.
  if (manifest.file.empty() || manifest.file.starts_with('.') || manifest.file.find('/') != std::string::npos ||
      first_bad_byte(manifest.file) != std::string::npos)
    reader.refuse(fmt::format("names the file {}, which is not a plain name", shown(manifest.file)));
  manifest.file_bytes = reader.whole_number(file, "bytes");
  manifest.metadata_hash = reader.hash(reader.member(file, "metadata"));
  uint64_t end_before = 0;
  std::set<std::string> names;
  for (const auto& set : reader.list(json, "datasets")) {
    manifest.datasets.push_back(read_dataset(set, end_before, manifest.file_bytes, reader));
    const auto& added = manifest.datasets.back();
    if (!names.insert(added.name).second) reader.refuse(fmt::format("has {} twice", shown(added.name)));
    if (added.bytes > 0) end_before = added.offset + added.bytes;
  }
  return manifest;
}

Manifest Manifest::read(const std::filesystem::path& checkpoint) {
  const auto path = checkpoint / file_name;
  const auto file = detail::File::open_to_read(path);
  const auto bytes = file.size();
  if (bytes > most_bytes) Reader(path).refuse(fmt::format("has {} bytes, more than the {} of the largest manifest", bytes, most_bytes));
  std::string text(bytes, '\0');
  file.read_at(text.data(), text.size(), 0);
  return from_text(text, path);
}

}  // namespace levin
