#include "save_job.h"

#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "agreement.h"
#include "levin/checkpoint/manifest.h"
#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

[[noreturn]] void refuse(const std::string& what) { throw UsageError("checkpoint", what); }

// Of two keys with a line for each tensor.
std::string first_difference(const std::string& first, const std::string& mine) {
  size_t a = 0, b = 0;
  while (a < first.size() || b < mine.size()) {
    const auto line = [](const std::string& text, size_t& at) {
      if (at >= text.size()) return std::string("nothing");
      const size_t end = text.find('\n', at);
      const auto found = text.substr(at, end - at);
      at = end + 1;
      return shown(found);
    };
    const auto one = line(first, a), other = line(mine, b);
    if (one != other) return fmt::format("rank 0 has {} where it has {}", one, other);
  }
  return "the order";
}

}  // namespace

bool SaveJob::is_first() const { return !communicator_ || communicator_->rank() == 0; }

void SaveJob::agree_on_tensors(const std::string& key) {
  const auto hashes = from_all(communicator_, {static_cast<int64_t>(XXH3_64bits(key.data(), key.size()))});
  if (std::all_of(hashes.begin(), hashes.end(), [&](int64_t hash) { return hash == hashes.front(); })) return;
  const auto first = from_first(communicator_, key);
  together(communicator_, [&] {
    if (first != key) refuse(fmt::format("its tensors differ from rank 0's: {}", first_difference(first, key)));
  });
}

void SaveJob::begin(const CheckpointState& state, KnownLayout& known) {
  const bool first = is_first();
  const auto key = layout_key(state.tensors, {});
  agree_on_tensors(key);

  std::vector<int64_t> offsets;
  auto whole_key = first ? layout_key(state.tensors, state.texts) : std::string();
  together(communicator_, [&] {
    if (!first) return;
    for (const auto& [name, value] : info_.fields)
      if (first_bad_byte(name) != std::string::npos || first_bad_byte(value) != std::string::npos)
        refuse(fmt::format("the field {} is no text of UTF-8", shown(name)));
    if (info_.step < 0 || info_.epoch < 0) refuse(fmt::format("step {} and epoch {} must not be negative", info_.step, info_.epoch));
    layout_ = known.whole;
    if (!layout_ || known.whole_key != whole_key) {
      layout_ = std::make_shared<const FileLayout>(make_layout(state.tensors, state.texts, alignment_));
      offsets = {static_cast<int64_t>(layout_->file_bytes)};
      for (const auto& place : layout_->tensors) offsets.push_back(static_cast<int64_t>(place.offset));
    }
    partial_.emplace(folder_, info_.name, Manifest{}.file);
    file_ = File::open_to_write(partial_->path() / Manifest{}.file);
    file_.resize(layout_->file_bytes);
  });

  if (offsets = from_first(communicator_, std::move(offsets)); !offsets.empty()) {
    known.whole_key = std::move(whole_key);
    known.whole = layout_;
    known.file_bytes = static_cast<uint64_t>(offsets.front());
    known.tensors.clear();
    known.index.clear();
    for (size_t i = 0; i < state.tensors.size(); i++) {
      known.tensors.push_back({static_cast<uint64_t>(offsets[i + 1]), static_cast<uint64_t>(state.tensors[i].bytes())});
      known.index.emplace(state.tensors[i].name, i);
    }
  }
  file_bytes_ = known.file_bytes;
  const auto path = from_first(communicator_, first ? partial_->path().string() : std::string());
  together(communicator_, [&] {
    if (!first) file_ = File::open_to_write(std::filesystem::path(path) / Manifest{}.file);
    make_parts(state, known);
  });
}

void SaveJob::make_parts(const CheckpointState& state, const KnownLayout& known) {
  for (const auto& piece : state.pieces) {
    const auto found = known.index.find(piece.name);
    if (found == known.index.end()) refuse(fmt::format("a piece of {}, which is none of the tensors", shown(piece.name)));
    const auto& tensor = state.tensors[found->second];
    if (piece.begin < 0 || piece.begin > piece.end || piece.end > tensor.numel())
      refuse(fmt::format("a piece of {} with elements [{}, {}) of {}", shown(piece.name), piece.begin, piece.end, tensor.numel()));
    const uint64_t element = c10::elementSize(tensor.dtype), begin = static_cast<uint64_t>(piece.begin) * element;
    if (piece.begin < piece.end)
      parts_.push_back({static_cast<const std::byte*>(piece.data), static_cast<uint64_t>(piece.end - piece.begin) * element,
                        known.tensors[found->second].offset + begin, static_cast<int64_t>(found->second), begin});
  }
  if (is_first()) {
    for (const auto& tensor : state.tensors) {
      names_.push_back(tensor.name);
      element_bytes_.push_back(c10::elementSize(tensor.dtype));
    }
    texts_.reserve(state.texts.size());
    for (size_t i = 0; i < state.texts.size(); i++) {
      const auto& place = layout_->texts[i];
      names_.push_back(state.texts[i].name);
      texts_.push_back(state.texts[i].text);
      texts_.back().resize(place.bytes, '\0');
      parts_.push_back({reinterpret_cast<const std::byte*>(texts_.back().data()), place.bytes, place.offset,
                        static_cast<int64_t>(state.tensors.size() + i), 0});
    }
  }
  for (const auto& part : parts_) my_bytes_ += part.bytes;
}

void SaveJob::write() {
  blocks_ = write_parts(file_, parts_, communicator_ && communicator_->node() && communicator_->node()->size() > 1, progress_);
  if (layout_)
    for (const auto& [offset, bytes] : layout_->metadata) file_.write_at(bytes.data(), bytes.size(), offset);
  if (sync_) file_.sync();
  file_.close();
}

void SaveJob::collect_blocks() {
  std::vector<int64_t> numbers;
  for (const auto& block : blocks_)
    for (const uint64_t number : {static_cast<uint64_t>(block.dataset), block.begin, block.bytes, block.hash})
      numbers.push_back(static_cast<int64_t>(number));
  numbers = from_all(communicator_, numbers);
  blocks_.clear();
  if (!is_first()) return;
  for (size_t i = 0; i < numbers.size(); i += 4)
    blocks_.push_back(
        {numbers[i], static_cast<uint64_t>(numbers[i + 1]), static_cast<uint64_t>(numbers[i + 2]), static_cast<uint64_t>(numbers[i + 3])});
}

Manifest SaveJob::make_manifest() const {
  Manifest manifest;
  manifest.step = info_.step;
  manifest.epoch = info_.epoch;
  manifest.saved_at = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  manifest.fields = info_.fields;
  manifest.file_bytes = layout_->file_bytes;
  manifest.metadata_hash = layout_->metadata_hash;
  auto places = layout_->tensors;
  places.insert(places.end(), layout_->texts.begin(), layout_->texts.end());
  for (size_t i = 0; i < places.size(); i++) manifest.datasets.push_back({names_[i], places[i].offset, places[i].bytes, {}});

  auto blocks = blocks_;
  std::sort(blocks.begin(), blocks.end(),
            [](const auto& a, const auto& b) { return std::tie(a.dataset, a.begin) < std::tie(b.dataset, b.begin); });
  std::vector<uint64_t> written(places.size());
  const auto elements = [&](size_t set, uint64_t bytes) { return set < element_bytes_.size() ? bytes / element_bytes_[set] : bytes; };
  const auto nobodys = [&](size_t set, uint64_t end) {
    refuse(fmt::format("elements [{}, {}) of {} are no rank's", elements(set, written[set]), elements(set, end), shown(names_[set])));
  };
  for (const auto& block : blocks) {
    const auto set = static_cast<size_t>(block.dataset);
    if (block.begin > written[set]) nobodys(set, block.begin);
    if (block.begin < written[set])
      refuse(fmt::format("elements [{}, {}) of {} come twice", elements(set, block.begin),
                         elements(set, std::min(written[set], block.begin + block.bytes)), shown(names_[set])));
    written[set] += block.bytes;
    manifest.datasets[set].blocks.push_back({block.bytes, block.hash});
  }
  for (size_t i = 0; i < places.size(); i++)
    if (written[i] < places[i].bytes) nobodys(i, places[i].bytes);
  std::stable_sort(manifest.datasets.begin(), manifest.datasets.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  return manifest;
}

void SaveJob::commit(bool write_last) {
  if (!partial_) return;
  partial_->commit(make_manifest().to_text(), sync_);
  if (write_last) try {
      replace_file(folder_ / "last", info_.name + "\n", sync_);
    } catch (const IoError&) {  // a hint only, and the checkpoint is committed
    }
}

}  // namespace levin::detail
