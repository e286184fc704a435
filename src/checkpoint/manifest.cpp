#include "levin/checkpoint/manifest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "../core/file.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "slabs.h"

namespace levin {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view format_name = "levin-checkpoint", before_checksum = ",\n\"checksum\":\"", after_checksum = "\"}\n";
constexpr size_t hash_digits = 16, most_bytes = size_t{1} << 30;
constexpr int most_depth = 8;

std::string hash_text(uint64_t hash) { return fmt::format("{:016x}", hash); }

/// Typed access to JSON values. Errors name the file and the member.
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
  void members_are(const Json& object, std::initializer_list<std::string_view> known, const char* kind) const {
    if (!object.is_object()) refuse(fmt::format("has a {} that is not an object", kind));
    for (const auto& [name, value] : object.items())
      if (std::find(known.begin(), known.end(), name) == known.end()) refuse(fmt::format("has an unknown {} in its {}", quote(name), kind));
  }
  uint64_t whole_number(const Json& object, const char* name) const { return whole_number_in(member(object, name), name); }
  uint64_t whole_number_in(const Json& value, const char* name) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      refuse(fmt::format("has a \"{}\" that is not an integer in [0, 2^63)", name));
    return value.get<uint64_t>();
  }
  std::string text(const Json& object, const char* name) const { return text_in(member(object, name), name); }
  std::string text_in(const Json& value, const char* name) const {
    if (!value.is_string()) refuse(fmt::format("has a \"{}\" that is not a string", name));
    return value.get<std::string>();
  }
  uint64_t hash(const Json& value) const {
    const std::string digits = text_in(value, "hash");
    uint64_t hash = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), hash, 16);
    if (error != std::errc() || end != digits.data() + digits.size() || digits != hash_text(hash))
      refuse(fmt::format("has the checksum {}, which is not {} lower-case hexadecimal digits", quote(digits), hash_digits));
    return hash;
  }
  const Json& list(const Json& object, const char* name) const {
    const Json& value = member(object, name);
    if (!value.is_array()) refuse(fmt::format("has a \"{}\" that is not a list", name));
    return value;
  }

 private:
  std::filesystem::path path_;
};

// The name must be a plain file name: a manifest must not reach files outside of its directory. The total size must not overflow.
void add_file(Manifest& manifest, const Json& json, const Reader& reader) {
  reader.members_are(json, {"name", "bytes", "metadata"}, "file");
  Manifest::File file{reader.text(json, "name"), reader.whole_number(json, "bytes"), reader.hash(reader.member(json, "metadata"))};
  if (file.name.empty() || file.name.starts_with('.') || file.name.find('/') != std::string::npos ||
      first_bad_byte(file.name) != std::string::npos)
    reader.refuse(fmt::format("names the file {}, which is not a plain name", quote(file.name)));
  for (const auto& other : manifest.files)
    if (other.name == file.name) reader.refuse(fmt::format("has the file {} twice", quote(file.name)));
  if (file.bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - manifest.file_bytes())
    reader.refuse("has file sizes that overflow");
  manifest.files.push_back(std::move(file));
}

// Strict: duplicate keys and deep nesting are errors.
Json parse(std::string_view text, const Reader& reader) {
  std::vector<std::set<std::string>> names;
  const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > most_depth) reader.refuse("is nested too deeply");
    if (event == Json::parse_event_t::object_start) names.emplace_back();
    if (event == Json::parse_event_t::object_end) names.pop_back();
    if (event == Json::parse_event_t::key && !names.back().insert(value.get<std::string>()).second)
      reader.refuse(fmt::format("has {} twice", quote(value.get<std::string>())));
    return true;
  };
  try {
    return Json::parse(text, check);
  } catch (const Json::exception& error) {
    reader.refuse(fmt::format("is not JSON: {}", sanitized(error.what())));
  }
}

void read_part(const Json& json, Manifest::Dataset& set, const Reader& reader) {
  const bool is_range = json.contains("elements"), is_box = json.contains("box");
  if (is_range && is_box) reader.refuse(fmt::format("has both \"elements\" and \"box\" of {}", quote(set.name)));
  if ((is_range || is_box) != json.contains("shape"))
    reader.refuse(fmt::format("has only one of \"{}\" and \"shape\" of {}", is_box ? "box" : "elements", quote(set.name)));
  if (!is_range && !is_box) return;
  const auto numbers = [&](const Json& object, const char* name) {
    std::vector<int64_t> values;
    for (const auto& value : reader.list(object, name)) values.push_back(static_cast<int64_t>(reader.whole_number_in(value, name)));
    return values;
  };
  Manifest::Part part{{}, numbers(json, "shape")};
  int64_t numel = 1;
  for (const int64_t size : part.shape)
    if (__builtin_mul_overflow(numel, size, &numel)) reader.refuse(fmt::format("gives {} a shape that overflows", quote(set.name)));
  if (is_range) {
    const auto range = numbers(json, "elements");
    if (range.size() != 2) reader.refuse(fmt::format("has \"elements\" of {} that are not [begin, end]", quote(set.name)));
    if (range[0] >= range[1] || range[1] > numel)
      reader.refuse(fmt::format("has elements [{}, {}) of {}, which has {}", range[0], range[1], quote(set.name), numel));
    part.slab = Hyperslab::range(range[0], range[1]);
  } else {
    const Json& box = reader.member(json, "box");
    reader.members_are(box, {"offset", "extent"}, "box");
    part.slab = {numbers(box, "offset"), numbers(box, "extent"), false};
    if (!detail::fits(part.slab, part.shape) || detail::elements_of(part.slab) == 0 || part.shape.size() > detail::most_box_dimensions)
      reader.refuse(fmt::format("has {} of {}, whose shape is {}", detail::text_of(part.slab), quote(set.name), part.shape));
  }
  set.part = std::move(part);
}

void add_dataset(Manifest& manifest, const Json& json, uint64_t& end_before, const Reader& reader) {
  if (manifest.version > 2)
    reader.members_are(json, {"name", "file", "elements", "box", "shape", "offset", "bytes", "blocks"}, "data set");
  else if (manifest.version == 2)
    reader.members_are(json, {"name", "file", "elements", "shape", "offset", "bytes", "blocks"}, "data set");
  else
    reader.members_are(json, {"name", "offset", "bytes", "blocks"}, "data set");
  Manifest::Dataset set{reader.text(json, "name"), reader.whole_number(json, "offset"), reader.whole_number(json, "bytes"), {}};
  if (manifest.version > 1) {
    set.file = reader.whole_number(json, "file");
    if (set.file >= manifest.files.size() || (!manifest.datasets.empty() && set.file < manifest.datasets.back().file))
      reader.refuse(fmt::format("puts {} into file {} of {}, or out of order", quote(set.name), set.file, manifest.files.size()));
    if (!manifest.datasets.empty() && set.file != manifest.datasets.back().file) end_before = 0;
    read_part(json, set, reader);
  }
  const uint64_t file_bytes = manifest.files[set.file].bytes;
  if (set.bytes > 0 && (set.offset < end_before || set.offset > file_bytes || set.bytes > file_bytes - set.offset))
    reader.refuse(fmt::format("puts {} at byte {} ({} bytes), which overlaps another or leaves the file of {} bytes", quote(set.name),
                              set.offset, set.bytes, file_bytes));
  uint64_t remaining = set.bytes;
  for (const auto& block : reader.list(json, "blocks")) {
    if (!block.is_array() || block.size() != 2) reader.refuse(fmt::format("has a block of {} that is not a pair", quote(set.name)));
    const uint64_t bytes = reader.whole_number_in(block[0], "block");
    if (bytes == 0 || bytes > remaining) reader.refuse(fmt::format("has blocks that do not fit {}", quote(set.name)));
    remaining -= bytes;
    set.blocks.push_back({bytes, reader.hash(block[1])});
  }
  if (remaining > 0) reader.refuse(fmt::format("has no checksum for {} bytes of {}", remaining, quote(set.name)));
  if (set.bytes > 0) end_before = set.offset + set.bytes;
  manifest.datasets.push_back(std::move(set));
}

// A name belongs to one data set, or to parts that cover every element of a tensor once.
void check_names(const Manifest& manifest, const Reader& reader) {
  std::map<std::string, std::vector<const Manifest::Dataset*>> by_name;
  for (const auto& set : manifest.datasets) by_name[set.name].push_back(&set);
  for (auto& [name, sets] : by_name) {
    if (!sets.front()->part && sets.size() == 1) continue;
    for (const auto* set : sets)
      if (!set->part || !sets.front()->part || set->part->shape != sets.front()->part->shape)
        reader.refuse(fmt::format("has {} twice", quote(name)));
    const auto& shape = sets.front()->part->shape;
    std::vector<Hyperslab> slabs;
    for (const auto* set : sets) slabs.push_back(set->part->slab);
    if (const auto element = detail::first_miscounted_element(std::move(slabs), shape))
      reader.refuse(fmt::format("has elements {} of {} missing or duplicated", *element, quote(name)));
  }
}

}  // namespace

std::string Manifest::Dataset::stored_name() const {
  if (!part) return name;
  std::string stored = name;
  for (size_t i = 0; i < part->slab.offset.size(); i++)
    stored += fmt::format("{}{}-{}", i == 0 ? '/' : ',', part->slab.offset[i], part->slab.offset[i] + part->slab.extent[i]);
  return stored;
}

std::string Manifest::state_file(size_t number, size_t files) { return files == 1 ? "state.h5" : fmt::format("state.{}.h5", number); }

uint64_t Manifest::file_bytes() const {
  uint64_t bytes = 0;
  for (const auto& file : files) bytes += file.bytes;
  return bytes;
}

std::string Manifest::to_text() const {
  Json json;
  json["format"] = format_name;
  json["version"] = newest_version;
  json["step"] = step;
  json["epoch"] = epoch;
  json["saved_at"] = saved_at;
  json["fields"] = Json::object();
  for (const auto& [name, value] : fields) json["fields"][name] = value;
  for (const auto& file : files)
    json["files"].push_back(Json{{"name", file.name}, {"bytes", file.bytes}, {"metadata", hash_text(file.metadata_hash)}});
  // One line per data set, for grep and diff.
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.pop_back();
  text += ",\n\"datasets\":[";
  for (const auto& set : datasets) {
    text += &set == datasets.data() ? "\n" : ",\n";
    text += fmt::format("{{\"name\":{},\"file\":{},", Json(set.name).dump(-1, ' ', false, Json::error_handler_t::replace), set.file);
    if (set.part) {
      const auto& [offset, extent, flattened] = set.part->slab;
      if (flattened)
        text += fmt::format("\"elements\":[{},{}],", offset[0], offset[0] + extent[0]);
      else
        text += fmt::format("\"box\":{{\"offset\":{},\"extent\":{}}},", Json(offset).dump(), Json(extent).dump());
      text += fmt::format("\"shape\":{},", Json(set.part->shape).dump());
    }
    text += fmt::format("\"offset\":{},\"bytes\":{},\"blocks\":[", set.offset, set.bytes);
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
  if (text.size() < tail) reader.refuse(fmt::format("has {} bytes and is not a manifest", text.size()));
  const auto body = text.substr(0, text.size() - tail), end = text.substr(body.size());
  if (!end.starts_with(before_checksum) || !end.ends_with(after_checksum))
    reader.refuse("does not end with its checksum: it is corrupt or truncated");
  if (end.substr(before_checksum.size(), hash_digits) != hash_text(XXH3_64bits(body.data(), body.size())))
    reader.refuse("does not match its checksum: it is corrupt");

  const Json json = parse(text, reader);
  if (!json.is_object() || reader.text(json, "format") != format_name) reader.refuse("is not the manifest of a checkpoint");
  const auto version = reader.whole_number(json, "version");
  if (version == 0 || version > static_cast<uint64_t>(newest_version))
    reader.refuse(fmt::format("has version {}, this program reads versions up to {}", version, newest_version),
                  "use the Levin version that wrote it, or a newer one");
  const bool lists_files = version > 1;
  reader.members_are(json,
                     {"format", "version", "step", "epoch", "saved_at", "fields", lists_files ? "files" : "file", "datasets", "checksum"},
                     "manifest");

  Manifest manifest;
  manifest.version = static_cast<int64_t>(version);
  manifest.step = static_cast<int64_t>(reader.whole_number(json, "step"));
  manifest.epoch = static_cast<int64_t>(reader.whole_number(json, "epoch"));
  const Json& saved_at = reader.member(json, "saved_at");
  if (!saved_at.is_number()) reader.refuse("has a \"saved_at\" that is not a number");
  manifest.saved_at = saved_at.get<double>();
  const Json& fields = reader.member(json, "fields");
  if (!fields.is_object()) reader.refuse("has \"fields\" that are not an object");
  for (const auto& [name, value] : fields.items()) manifest.fields[name] = reader.text_in(value, name.c_str());

  manifest.files.clear();
  if (lists_files && reader.list(json, "files").size() > most_files) reader.refuse(fmt::format("has more than {} files", most_files));
  if (lists_files)
    for (const auto& file : reader.list(json, "files")) add_file(manifest, file, reader);
  else
    add_file(manifest, reader.member(json, "file"), reader);
  if (manifest.files.size() < (version == 2 ? 2 : 1)) reader.refuse(fmt::format("has too few files: {}", manifest.files.size()));
  uint64_t end_before = 0;
  for (const auto& set : reader.list(json, "datasets")) add_dataset(manifest, set, end_before, reader);
  check_names(manifest, reader);
  return manifest;
}

Manifest Manifest::read(const std::filesystem::path& checkpoint) { return from_text(read_text(checkpoint), checkpoint / file_name); }

std::string Manifest::read_text(const std::filesystem::path& checkpoint) {
  const auto path = checkpoint / file_name;
  const auto file = detail::File::open_to_read(path);
  const auto bytes = file.size();
  if (bytes > most_bytes) Reader(path).refuse(fmt::format("has {} bytes, a manifest has at most {}", bytes, most_bytes));
  std::string text(bytes, '\0');
  file.read_at(text.data(), text.size(), 0);
  return text;
}

}  // namespace levin
