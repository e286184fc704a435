#include "levin/cli/yaml_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {
namespace {

struct Size {
  size_t nodes = 0, bytes = 0, depth = 0;
};

Size size_of(const ConfigValue& value) {
  Size size{1, value.text.size(), 1};
  const auto add = [&](const ConfigValue& child, size_t key_bytes) {
    const Size inner = size_of(child);
    size.nodes += inner.nodes;
    size.bytes += inner.bytes + key_bytes;
    size.depth = std::max(size.depth, inner.depth + 1);
  };
  for (const auto& item : value.items) add(item, 0);
  for (const auto& entry : value.entries) add(entry.value, entry.key.size());
  return size;
}

// Builds values from the parser's events, so that limits apply during parsing and the document is held in memory once.
class Builder : public YAML::EventHandler {
 public:
  Builder(std::string_view document, const std::string& origin, const YamlLimits& limits)
      : document_(document), origin_(std::make_shared<const std::string>(origin)), limits_(limits) {}

  ConfigValue take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) fail(mark, "a second document begins", "a config has one document: remove the ---");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (wants_key()) fail(mark, "a key is missing before the colon");
    put(at(mark, ConfigValue()), anchor, mark);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& text) override {
    check_tag(mark, tag);
    if (tag == "!") check_closed(mark);
    if (wants_key()) return key(mark, text, anchor, /*merges=*/text == "<<" && tag != "!");
    put(at(mark, ConfigValue::scalar(text, tag == "!")), anchor, mark);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (wants_key()) fail(mark, "an alias cannot be a key");
    const auto known = anchors_.find(anchor);
    if (known == anchors_.end()) fail(mark, "an alias refers to a value that contains it");
    spend(size_of(known->second), mark);
    put(known->second, 0, mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    begin(mark, tag, anchor, ConfigValue::sequence());
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    begin(mark, tag, anchor, ConfigValue::map());
  }
  void OnSequenceEnd() override { end(); }
  void OnMapEnd() override {
    if (open_.back().merge) merge(open_.back().value.entries, *open_.back().merge);
    end();
  }

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message, const std::string& remedy = {}) const {
    fail(source(mark), message, remedy);
  }
  [[noreturn]] static void fail(const ConfigSource& source, const std::string& message, const std::string& remedy = {}) {
    throw ConfigError(fmt::format("{}: {}", source.text(), message), remedy);
  }

  // The parser's message for a line indented with a tab does not mention the tab.
  void check_indentation(const YAML::Mark& mark) const {
    size_t begin = 0;
    for (int line = 0; line < mark.line && begin < document_.size(); ++line)
      begin = std::min(document_.find('\n', begin), document_.size() - 1) + 1;
    const auto text = document_.substr(begin);
    const size_t blank = std::min(text.find_first_not_of(' '), text.size());
    if (const auto name = name_of_blank(text.substr(blank)); !name.empty())
      fail({origin_, mark.line + 1, static_cast<int>(blank) + 1}, fmt::format("the line is indented with {}", name), "indent with spaces");
  }

 private:
  struct Open {
    ConfigValue value;
    YAML::anchor_t anchor;
    YAML::Mark mark;
    std::set<std::string> keys;
    bool has_key = false;
    std::optional<size_t> merge = std::nullopt;  // the entry whose key is <<
  };

  ConfigSource source(const YAML::Mark& mark) const { return {origin_, mark.line + 1, mark.column + 1}; }
  ConfigValue at(const YAML::Mark& mark, ConfigValue value) const {
    value.source = source(mark);
    return value;
  }
  bool wants_key() const { return !open_.empty() && open_.back().value.kind == ConfigValue::Kind::map && !open_.back().has_key; }

  void check_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (!tag.empty() && tag != "?" && tag != "!")
      fail(mark, fmt::format("the tag {} is not allowed", quote(tag)), "write the value without a tag");
  }
  static std::string name_of_blank(std::string_view text) {
    if (text.starts_with('\t')) return "a tab";
    if (text.starts_with("\xC2\xA0")) return "a no-break space (U+00A0)";
    if (text.starts_with("\xE2\x80\xAF")) return "a narrow no-break space (U+202F)";
    if (text.starts_with("\xE3\x80\x80")) return "an ideographic space (U+3000)";
    return "";
  }
  void check_indentation(const YAML::Mark& mark, const std::string& key) const {
    if (const auto name = name_of_blank(key); !name.empty())
      fail(mark, fmt::format("the key {} begins with {}", quote(key), name), "indent with spaces");
  }
  // The parser accepts the end of the file as a closing quotation mark.
  void check_closed(const YAML::Mark& mark) const {
    const auto start = static_cast<size_t>(mark.pos);
    if (mark.pos < 0 || start >= document_.size() || (document_[start] != '"' && document_[start] != '\'')) return;
    for (size_t i = start + 1; i < document_.size(); ++i) {
      if (document_[i] == document_[start]) return;
      if (document_[start] == '"' && document_[i] == '\\') ++i;
    }
    fail(mark, "a quoted scalar is not closed");
  }
  void spend(const Size& size, const YAML::Mark& mark) {
    nodes_ += size.nodes;
    bytes_ += size.bytes;
    if (nodes_ > limits_.nodes) fail(mark, fmt::format("there are more than {} values (aliases expanded)", limits_.nodes));
    if (bytes_ > limits_.text_bytes) fail(mark, fmt::format("there are more than {} bytes of text (aliases expanded)", limits_.text_bytes));
    if (open_.size() + size.depth > limits_.depth) fail(mark, fmt::format("values are nested deeper than {}", limits_.depth));
  }

  // YAML's merge key adds the entries of a map or of a list of maps. The map's own keys win, then the first map of the list.
  static constexpr auto merge_remedy = "write <<: *name, or <<: [*first, *second]";
  void merge(std::vector<ConfigEntry>& entries, size_t index) {
    ConfigEntry merged = std::move(entries[index]);
    entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(index));
    const bool is_list = merged.value.kind == ConfigValue::Kind::sequence;
    std::vector<ConfigValue> maps;
    if (is_list)
      maps = std::move(merged.value.items);
    else
      maps.push_back(std::move(merged.value));
    std::set<std::string> known;
    for (const auto& entry : entries) known.insert(entry.key);
    auto target = entries.begin() + static_cast<std::ptrdiff_t>(index);
    for (auto& map : maps) {
      if (map.kind != ConfigValue::Kind::map) fail(merged.source, "the merge key << needs a map", merge_remedy);
      for (auto& entry : map.entries)
        if (known.insert(entry.key).second) target = std::next(entries.insert(target, std::move(entry)));
    }
  }

  void key(const YAML::Mark& mark, const std::string& text, YAML::anchor_t anchor, bool merges) {
    spend({1, text.size(), 1}, mark);
    check_indentation(mark, text);
    if (anchor) fail(mark, "an anchor on a key is not allowed");
    auto& map = open_.back();
    if (!map.keys.insert(text).second) {
      for (const auto& entry : map.value.entries)
        if (entry.key == text)
          fail(mark, fmt::format("the key {} is given twice", quote(text)),
               fmt::format("keep one: the first is in line {}", entry.source.line));
    }
    if (merges) map.merge = map.value.entries.size();
    map.value.entries.push_back({text, {}, {}, source(mark)});
    map.has_key = true;
  }

  void begin(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, ConfigValue value) {
    check_tag(mark, tag);
    if (wants_key()) fail(mark, "a key must be a scalar");
    spend({1, 0, 1}, mark);
    open_.push_back({at(mark, std::move(value)), anchor, mark, {}, false, std::nullopt});
  }

  void end() {
    Open closed = std::move(open_.back());
    open_.pop_back();
    put(std::move(closed.value), closed.anchor, closed.mark);
  }

  void put(ConfigValue value, YAML::anchor_t anchor, const YAML::Mark& mark) {
    if (value.kind == ConfigValue::Kind::scalar || value.kind == ConfigValue::Kind::null) spend({1, value.text.size(), 1}, mark);
    if (anchor) {
      spend(size_of(value), mark);
      anchors_.insert_or_assign(anchor, value);
    }
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (auto& parent = open_.back(); parent.value.kind == ConfigValue::Kind::sequence) {
      parent.value.items.push_back(std::move(value));
    } else {
      parent.value.entries.back().value = std::move(value);
      parent.has_key = false;
    }
  }

  std::string_view document_;
  std::shared_ptr<const std::string> origin_;
  YamlLimits limits_;
  ConfigValue root_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, ConfigValue> anchors_;
  size_t documents_ = 0, nodes_ = 0, bytes_ = 0;
};

std::string read_file(const std::filesystem::path& file, size_t limit) {
  const auto refuse = [&](const std::string& why) {
    throw ConfigError(fmt::format("{}: {}", quote(file.string()), why), "give --config a YAML file");
  };
  // Non-blocking, so that a pipe without a writer cannot block the program; no effect on a regular file.
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) refuse(errno == ENOENT ? "no such file" : fmt::format("cannot be opened: {}", std::strerror(errno)));
  const std::unique_ptr<const int, void (*)(const int*)> closer(&descriptor, [](const int* open_descriptor) { ::close(*open_descriptor); });
  struct stat status {};
  if (fstat(descriptor, &status) != 0) refuse(fmt::format("cannot be read: {}", std::strerror(errno)));
  if (S_ISDIR(status.st_mode)) refuse("is a directory");
  if (!S_ISREG(status.st_mode)) refuse("is not a regular file");
  std::string text(limit + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(descriptor, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse(fmt::format("cannot be read: {}", std::strerror(errno)));
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size > limit) refuse(fmt::format("is larger than {} bytes, the limit of a config", limit));
  text.resize(size);
  return text;
}

}  // namespace

ConfigValue parse_yaml(std::string_view text, const std::string& origin, const YamlLimits& limits) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (const size_t bad = first_bad_byte(text); bad != std::string::npos) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bad), '\n');
    throw ConfigError(
        fmt::format("{}:{}: byte 0x{:02x} is not valid UTF-8", origin, line, static_cast<unsigned>(static_cast<unsigned char>(text[bad]))),
        "save the file as UTF-8");
  }
  Builder builder(text, origin, limits);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    const auto mark = error.mark.is_null() ? YAML::Mark() : error.mark;
    builder.check_indentation(mark);
    builder.fail(mark, "invalid YAML: " + sanitized(error.msg));
  }
  return builder.take();
}

ConfigValue load_yaml(const std::filesystem::path& file, const YamlLimits& limits) {
  ConfigValue value = parse_yaml(read_file(file, limits.file_bytes), file.string(), limits);
  if (value.kind == ConfigValue::Kind::map || value.is_null()) return value;
  throw ConfigError(fmt::format("{}: the file is not a map of keys", value.source.text()),
                    "write key: value lines, as --print_config does");
}

}  // namespace levin
