#include "position_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

namespace levin::detail {
namespace {

using PositionJson = nlohmann::json;
constexpr std::string_view leftover_prefix = ".hang-";

// Whole pages: slots of two hosts never share one, which a network file system would write back as a whole.
struct PositionSlot {
  static constexpr size_t text_bytes = 8192 - 16;
  uint64_t checksum = 0;  // of the text
  uint64_t size = 0;
  std::array<char, text_bytes> text{};
};
static_assert(sizeof(PositionSlot) == 8192 && std::is_trivially_copyable_v<PositionSlot>);

class Descriptor {
 public:
  Descriptor(const std::filesystem::path& path, int flags) noexcept : value_(open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return value_; }
  bool close() noexcept { return ::close(std::exchange(value_, -1)) == 0; }

 private:
  int value_;
};

bool write_bytes(int file, const char* bytes, size_t size, off_t offset) noexcept {
  while (size > 0) {
    const ssize_t written = pwrite(file, bytes, size, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes += written, offset += written, size -= static_cast<size_t>(written);
  }
  return true;
}

std::string slot_text(const RankPosition& position) {
  return PositionJson{
      {"rank", position.rank},   {"idle_seconds", position.idle_seconds}, {"phase", position.phase}, {"step", position.step},
      {"calls", position.calls}, {"context", position.context},           {"stack", position.stack}, {"answered", position.answered}}
      .dump(-1, ' ', false, PositionJson::error_handler_t::replace);
}

std::optional<RankPosition> position_of(const PositionSlot& slot) {
  if (slot.size == 0 || slot.size > slot.text.size() || slot.checksum != XXH3_64bits(slot.text.data(), slot.size)) return std::nullopt;
  const auto json = PositionJson::parse(slot.text.data(), slot.text.data() + slot.size, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  return RankPosition{.rank = json.value("rank", 0),
                      .idle_seconds = json.value("idle_seconds", 0.0),
                      .phase = json.value("phase", ""),
                      .step = json.value("step", int64_t{0}),
                      .calls = json.value("calls", ""),
                      .context = json.value("context", ""),
                      .stack = json.value("stack", ""),
                      .answered = json.value("answered", true)};
}

off_t offset_of(int rank) noexcept { return static_cast<off_t>(rank) * static_cast<off_t>(sizeof(PositionSlot)); }

}  // namespace

PositionFile::PositionFile(const std::filesystem::path& folder, const std::string& token, int ranks)
    : positions_(folder / (std::string(leftover_prefix) + token)),
      claim_(folder / (std::string(leftover_prefix) + token + ".report")),
      report_(folder / "hang.txt"),
      ranks_(ranks) {}

void PositionFile::remove_leftovers(const std::filesystem::path& folder) noexcept {
  std::error_code ignored;
  std::filesystem::directory_iterator entry(folder, ignored), end;
  for (; !ignored && entry != end; entry.increment(ignored))
    if (entry->path().filename().string().starts_with(leftover_prefix)) {
      std::error_code not_removed;
      std::filesystem::remove(entry->path(), not_removed);
    }
}

bool PositionFile::exists() const noexcept {
  struct stat status {};
  return stat(positions_.c_str(), &status) == 0;
}

bool PositionFile::write(RankPosition position) const noexcept try {
  std::string text = slot_text(position);
  for (std::string* part : {&position.stack, &position.context, &position.calls}) {
    if (text.size() <= PositionSlot::text_bytes) break;
    part->resize(std::min<size_t>(part->size(), 1000));
    text = slot_text(position);
  }
  PositionSlot slot;
  if (text.size() > slot.text.size()) return false;
  std::memcpy(slot.text.data(), text.data(), text.size());
  slot.size = text.size();
  slot.checksum = XXH3_64bits(text.data(), text.size());
  Descriptor file(positions_, O_CREAT | O_WRONLY);
  if (file.get() < 0 || !write_bytes(file.get(), reinterpret_cast<const char*>(&slot), sizeof(slot), offset_of(position.rank)))
    return false;
  return file.close();
} catch (const std::exception&) {
  return false;
}

void PositionFile::read(std::vector<std::optional<RankPosition>>& positions) const {
  const Descriptor file(positions_, O_RDONLY);
  if (file.get() < 0) return;
  for (int rank = 0; rank < std::min(ranks_, static_cast<int>(positions.size())); rank++) {
    auto& position = positions[static_cast<size_t>(rank)];
    PositionSlot slot;
    if (position || pread(file.get(), &slot, sizeof(slot), offset_of(rank)) != static_cast<ssize_t>(sizeof(slot))) continue;
    if (auto found = position_of(slot); found && found->rank == rank) position = std::move(found);
  }
}

bool PositionFile::claim() const noexcept {
  const Descriptor file(claim_, O_CREAT | O_EXCL | O_WRONLY);
  return file.get() >= 0;
}

std::filesystem::path PositionFile::finish(const std::string& report) const noexcept {
  bool written = false;
  {
    Descriptor file(claim_, O_WRONLY);
    written = file.get() >= 0 && write_bytes(file.get(), report.data(), report.size(), 0) && file.close();
  }
  if (!written || rename(claim_.c_str(), report_.c_str()) != 0) {
    unlink(claim_.c_str());
    written = false;
  }
  unlink(positions_.c_str());
  return written ? report_ : std::filesystem::path();
}

}  // namespace levin::detail
