#include "levin/core/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cstdint>

namespace levin {
namespace {

std::string in_lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

size_t first_bad_byte(std::string_view text) noexcept {
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7F) return i;
      ++i;
      continue;
    }
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    if (byte < 0xC2 || byte > 0xF4 || i + length > text.size()) return i;
    uint32_t code = byte & (0xFF >> (length + 1));
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0) != 0x80) return i;
      code = code << 6 | (next & 0x3F);
    }
    // Overlong forms, surrogates, and what is beyond Unicode.
    if ((length == 3 && code < 0x800) || (length == 4 && (code < 0x10000 || code > 0x10FFFF)) || (code >= 0xD800 && code <= 0xDFFF))
      return i;
    i += length;
  }
  return std::string::npos;
}

std::string sanitized(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c == '\t' || c == '\n' || c == '\r') c = '?';
  for (size_t start = 0;;) {
    const size_t bad = first_bad_byte(std::string_view(out).substr(start));
    if (bad == std::string::npos) break;
    out[start + bad] = '?';
    start += bad + 1;
  }
  return out;
}

namespace {

// Blanks that look like a space or are invisible are shown as their code point.
std::string with_visible_blanks(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    const auto byte = [&](size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u; };
    uint32_t code = 0;
    size_t length = 1;
    if (byte(i) == 0xC2) code = byte(i + 1), length = 2;
    if (byte(i) >> 4 == 0xE) code = (byte(i) & 0xF) << 12 | (byte(i + 1) & 0x3F) << 6 | (byte(i + 2) & 0x3F), length = 3;
    const bool blank = code == 0xA0 || (code >= 0x2000 && code <= 0x200F) || code == 0x2028 || code == 0x2029 || code == 0x202F ||
                       code == 0x205F || code == 0x2060 || code == 0x3000 || code == 0xFEFF;
    out += blank ? fmt::format("<U+{:04X}>", code) : text.substr(i, 1);
    if (blank) i += length - 1;
  }
  return out;
}

}  // namespace

std::string quote(std::string_view text) {
  constexpr size_t longest = 80;
  size_t end = std::min(text.size(), longest);
  // A cut never splits a UTF-8 character.
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return fmt::format("\"{}{}\"", with_visible_blanks(sanitized(text.substr(0, end))), end < text.size() ? "..." : "");
}

std::string unqualified(const std::string& type_name) {
  const auto colon = type_name.rfind("::");
  return colon == std::string::npos ? type_name : type_name.substr(colon + 2);
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  if (name.size() > 200) return "";
  const std::string lower = in_lower_case(name);
  std::string best;
  size_t least = std::max<size_t>(2, name.size() / 3) + 1;
  for (const auto& candidate : known) {
    const size_t distance = edit_distance(lower, in_lower_case(candidate));
    if (distance < least && distance < candidate.size()) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace levin
