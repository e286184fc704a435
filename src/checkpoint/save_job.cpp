#include "save_job.h"

#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <tuple>

#include "levin/checkpoint/manifest.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw UsageError("checkpoint", message); }

// Of two keys with a line for each tensor.
std::string first_difference(const std::string& first, const std::string& mine) {
  size_t a = 0, b = 0;
  while (a < first.size() || b < mine.size()) {
    const auto line = [](const std::string& text, size_t& at) {
      if (at >= text.size()) return std::string("nothing");
      const size_t end = text.find('\n', at);
      const auto found = text.substr(at, end - at);
      at = end + 1;
      return quote(found);
    };
    const auto expected = line(first, a), actual = line(mine, b);
    if (expected != actual) return fmt::format("rank 0 has {} where it has {}", expected, actual);
  }
  return "the order";
}

// Of the pieces, which must be of these tensors.
std::vector<Range> ranges_of(const CheckpointState& state, const KnownLayout& known) {
  std::vector<Range> ranges;
  for (const auto& piece : state.pieces) {
    const auto found = known.index.find(piece.name);
    if (found == known.index.end()) refuse(fmt::format("a piece of the unknown tensor {}", quote(piece.name)));
    const int64_t numel = state.tensors[found->second].numel();
    if (piece.begin < 0 || piece.begin > piece.end || piece.end > numel)
      refuse(fmt::format("a piece of {} with elements [{}, {}) of {}", quote(piece.name), piece.begin, piece.end, numel));
    ranges.push_back({static_cast<int64_t>(found->second), piece.begin, piece.end});
  }
  return ranges;
}

}  // namespace

bool SaveJob::is_first() const { return !communicator_ || communicator_->rank() == 0; }
bool SaveJob::makes_file() const { return groups_.makes_file(communicator_ ? communicator_->rank() : 0); }

uint64_t SaveJob::file_bytes() const noexcept {
  uint64_t bytes = 0;
  for (const auto& file : *files_) bytes += file.bytes;
  return bytes;
}

bool SaveJob::agree_on_tensors(const std::string& key, bool changed) {
  const auto all = all_gather_values<int64_t>(communicator_, {static_cast<int64_t>(XXH3_64bits(key.data(), key.size())), changed ? 1 : 0});
  bool same = true;
  for (size_t i = 0; i < all.size(); i += 2) {
    same = same && all[i] == all.front();
    changed = changed || all[i + 1] != 0;
  }
  if (same) return changed;
  const auto first = broadcast_text(communicator_, key);
  on_all_ranks(communicator_, "checkpoint", [&] {
    if (first != key) refuse(fmt::format("its tensors differ from rank 0's: {}", first_difference(first, key)));
  });
  return true;
}

void SaveJob::check(const CheckpointState& state, bool changed) const {
  if (changed) check_names_and_shapes(state.tensors, state.texts);
  for (const auto& [name, text] : state.texts)  // they change while the layout stays
    if (text.find('\0') != std::string::npos) refuse(fmt::format("{} has a zero byte; save it as a tensor of uint8", quote(name)));
  for (const auto& [name, value] : info_.fields)
    if (first_bad_byte(name) != std::string::npos || first_bad_byte(value) != std::string::npos)
      refuse(fmt::format("the field {} is not valid UTF-8", quote(name)));
  if (info_.step < 0 || info_.epoch < 0) refuse(fmt::format("step {} and epoch {} must not be negative", info_.step, info_.epoch));
}

void SaveJob::begin(const CheckpointState& state, KnownLayout& known) {
  const auto key = layout_key(state.tensors, {});
  auto own_key = is_first() ? layout_key(state.tensors, state.texts) : key;
  if (groups_.count() > 1)
    for (const auto& piece : state.pieces) own_key += fmt::format("{} {} {}\n", piece.name, piece.begin, piece.end);
  const bool changed = agree_on_tensors(key, !known.files || own_key != known.key);

  KnownLayout another;
  if (changed)
    for (size_t i = 0; i < state.tensors.size(); i++) another.index.emplace(state.tensors[i].name, i);
  std::vector<Range> pieces;
  on_all_ranks(communicator_, "checkpoint", [&] {
    if (is_first()) check(state, changed);
    pieces = ranges_of(state, changed ? another : known);
  });
  if (changed) {
    another.key = std::move(own_key);
    known = make_layout_of_all(state, pieces, std::move(another));
  }
  files_ = known.files;
  layout_ = known.mine;
  make_files();
  on_all_ranks(communicator_, "checkpoint", [&] { make_parts(state, pieces, known); });
}

// What the data sets of this rank's file are: whole tensors where there is one file, else what its ranks have of them.
std::vector<Range> SaveJob::ranges_of_file(const CheckpointState& state, const std::vector<Range>& pieces) const {
  std::vector<Range> ranges;
  const bool several = groups_.count() > 1;
  if (is_first())
    for (size_t i = 0; i < state.tensors.size(); i++)
      if (const int64_t numel = state.tensors[i].numel(); !several || numel == 0) ranges.push_back({static_cast<int64_t>(i), 0, numel});
  if (!several) return ranges;
  std::vector<int64_t> numbers{static_cast<int64_t>(groups_.mine), 0};
  for (const auto& piece : pieces)
    if (piece.begin < piece.end) {
      numbers.insert(numbers.end(), {piece.tensor, piece.begin, piece.end});
      numbers[1]++;
    }
  numbers = all_gather_values(communicator_, numbers);
  for (size_t at = 0; at < numbers.size();) {
    const bool mine = numbers[at] == static_cast<int64_t>(groups_.mine);
    const auto end = at + 2 + 3 * static_cast<size_t>(numbers[at + 1]);
    for (at += 2; at < end; at += 3)
      if (mine) ranges.push_back({numbers[at], numbers[at + 1], numbers[at + 2]});
  }
  return united(std::move(ranges));
}

KnownLayout SaveJob::make_layout_of_all(const CheckpointState& state, const std::vector<Range>& pieces, KnownLayout known) {
  const auto ranges = ranges_of_file(state, pieces);
  std::vector<int64_t> numbers;
  on_all_ranks(communicator_, "checkpoint", [&] {
    if (!makes_file()) return;
    known.mine = std::make_shared<const FileLayout>(
        make_layout(entries_of(ranges, state.tensors), is_first() ? state.texts : std::vector<TextEntry>(), options_.alignment));
    numbers = {static_cast<int64_t>(known.mine->file_bytes), static_cast<int64_t>(known.mine->metadata_hash)};
    for (size_t i = 0; i < ranges.size(); i++)
      numbers.insert(numbers.end(),
                     {ranges[i].tensor, ranges[i].begin, ranges[i].end, static_cast<int64_t>(known.mine->tensors[i].offset)});
  });
  std::vector<KnownLayout::StateFile> files(groups_.count());
  for (size_t number = 0; number < files.size(); number++) {
    const bool mine = number == groups_.mine;
    const auto received =
        broadcast_values(communicator_, mine && makes_file() ? numbers : std::vector<int64_t>(), groups_.first_ranks[number]);
    auto& file = files[number];
    file.bytes = static_cast<uint64_t>(received[0]);
    file.metadata_hash = static_cast<uint64_t>(received[1]);
    if (mine) known.first_dataset = known.datasets;
    known.datasets += (received.size() - 2) / 4;
    if (!mine && !is_first()) continue;
    for (size_t at = 2; at < received.size(); at += 4) {
      const Range range{received[at], received[at + 1], received[at + 2]};
      const uint64_t element = c10::elementSize(state.tensors[static_cast<size_t>(range.tensor)].dtype);
      file.ranges.push_back(range);
      file.extents.push_back({static_cast<uint64_t>(received[at + 3]), static_cast<uint64_t>(range.end - range.begin) * element});
    }
  }
  known.files = std::make_shared<const std::vector<KnownLayout::StateFile>>(std::move(files));
  return known;
}

// The directory and the first file are rank 0's; the others need the directory, and their ranks need them.
void SaveJob::make_files() {
  const bool first = is_first();
  on_all_ranks(communicator_, "checkpoint", [&] {
    if (!first) return;
    partial_.emplace(folder_, info_.name, file_name(), options_.mpi_io_hints);
    file_ = File::open_to_write(partial_->path() / file_name());
    file_.resize(layout_->file_bytes);
  });
  const std::filesystem::path folder = broadcast_text(communicator_, first ? partial_->path().string() : std::string());
  if (groups_.count() > 1)
    on_all_ranks(communicator_, "checkpoint", [&] {
      if (first || !makes_file()) return;
      file_ = create_file(folder / file_name(), options_.mpi_io_hints);
      file_.resize(layout_->file_bytes);
    });
  on_all_ranks(communicator_, "checkpoint", [&] {
    if (!makes_file()) file_ = File::open_to_write(folder / file_name());
  });
}

void SaveJob::make_parts(const CheckpointState& state, const std::vector<Range>& pieces, const KnownLayout& known) {
  const auto& file = (*known.files)[groups_.mine];
  for (size_t i = 0; i < pieces.size(); i++) {
    const auto& piece = pieces[i];
    if (piece.begin == piece.end) continue;
    const auto after = std::upper_bound(file.ranges.begin(), file.ranges.end(), piece, [](const Range& a, const Range& b) {
      return std::tie(a.tensor, a.begin) < std::tie(b.tensor, b.begin);
    });
    const auto set = static_cast<size_t>(after - file.ranges.begin()) - 1;
    const uint64_t element = c10::elementSize(state.tensors[static_cast<size_t>(piece.tensor)].dtype),
                   begin = static_cast<uint64_t>(piece.begin - file.ranges[set].begin) * element;
    parts_.push_back({static_cast<const std::byte*>(state.pieces[i].data), static_cast<uint64_t>(piece.end - piece.begin) * element,
                      file.extents[set].offset + begin, static_cast<int64_t>(known.first_dataset + set), begin});
  }
  if (is_first()) {
    tensors_ = state.tensors;
    texts_ = state.texts;
    for (size_t i = 0; i < texts_.size(); i++) {
      const auto& extent = layout_->texts[i];
      texts_[i].text.resize(extent.bytes, '\0');
      parts_.push_back({reinterpret_cast<const std::byte*>(texts_[i].text.data()), extent.bytes, extent.offset,
                        static_cast<int64_t>(known.datasets + i), 0});
    }
  }
  for (const auto& part : parts_) my_bytes_ += part.bytes;
}

void SaveJob::write() {
  blocks_ = write_parts(file_, parts_, communicator_ && communicator_->node() && communicator_->node()->size() > 1, progress_);
  if (layout_)
    for (const auto& [offset, bytes] : layout_->metadata) file_.write_at(bytes.data(), bytes.size(), offset);
  if (options_.fsync) file_.sync();
  if (options_.fsync && layout_ && !is_first()) sync_directory(file_.path().parent_path());  // rank 0 syncs it on its own host
  file_.close();
}

void SaveJob::collect_blocks() {
  std::vector<int64_t> numbers;
  for (const auto& block : blocks_)
    for (const uint64_t number : {static_cast<uint64_t>(block.dataset), block.begin, block.bytes, block.hash})
      numbers.push_back(static_cast<int64_t>(number));
  numbers = all_gather_values(communicator_, numbers);
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
  manifest.files.clear();
  for (const auto& file : *files_) {
    const size_t number = manifest.files.size();
    manifest.files.push_back({Manifest::state_file(number, files_->size()), file.bytes, file.metadata_hash});
    for (size_t i = 0; i < file.ranges.size(); i++) {
      const auto& range = file.ranges[i];
      const auto& tensor = tensors_[static_cast<size_t>(range.tensor)];
      auto& set = manifest.datasets.emplace_back(Manifest::Dataset{tensor.name, file.extents[i].offset, file.extents[i].bytes, {}});
      set.file = number;
      if (range.begin > 0 || range.end < tensor.numel()) set.part = Manifest::Part{range.begin, range.end, tensor.shape};
    }
  }
  for (size_t i = 0; i < texts_.size(); i++)
    manifest.datasets.push_back({texts_[i].name, layout_->texts[i].offset, layout_->texts[i].bytes, {}});
  check_blocks(manifest);
  check_tensors();
  std::stable_sort(manifest.datasets.begin(), manifest.datasets.end(),
                   [](const auto& a, const auto& b) { return std::tie(a.file, a.offset) < std::tie(b.file, b.offset); });
  return manifest;
}

// Every byte of every data set was written, and once; the checksums go to the manifest.
void SaveJob::check_blocks(Manifest& manifest) const {
  std::vector<Range> ranges;
  for (const auto& file : *files_) ranges.insert(ranges.end(), file.ranges.begin(), file.ranges.end());
  auto blocks = blocks_;
  std::sort(blocks.begin(), blocks.end(),
            [](const auto& a, const auto& b) { return std::tie(a.dataset, a.begin) < std::tie(b.dataset, b.begin); });
  std::vector<uint64_t> written(manifest.datasets.size());
  const auto element = [&](size_t set, uint64_t byte) {
    if (set >= ranges.size()) return byte;
    const auto& [tensor, begin, end] = ranges[set];
    return static_cast<uint64_t>(begin) + byte / c10::elementSize(tensors_[static_cast<size_t>(tensor)].dtype);
  };
  const auto refuse_gap = [&](size_t set, uint64_t end) {
    refuse(fmt::format("no rank provides elements [{}, {}) of {}", element(set, written[set]), element(set, end),
                       quote(manifest.datasets[set].name)));
  };
  for (const auto& block : blocks) {
    const auto set = static_cast<size_t>(block.dataset);
    if (block.begin > written[set]) refuse_gap(set, block.begin);
    if (block.begin < written[set])
      refuse(fmt::format("more than one rank writes elements [{}, {}) of {}", element(set, block.begin),
                         element(set, std::min(written[set], block.begin + block.bytes)), quote(manifest.datasets[set].name)));
    written[set] += block.bytes;
    manifest.datasets[set].blocks.push_back({block.bytes, block.hash});
  }
  for (size_t i = 0; i < written.size(); i++)
    if (written[i] < manifest.datasets[i].bytes) refuse_gap(i, manifest.datasets[i].bytes);
}

// The data sets of all files are all of every tensor, and each element is in one.
void SaveJob::check_tensors() const {
  std::vector<Range> ranges;
  for (const auto& file : *files_) ranges.insert(ranges.end(), file.ranges.begin(), file.ranges.end());
  std::sort(ranges.begin(), ranges.end(),
            [](const auto& a, const auto& b) { return std::tie(a.tensor, a.begin) < std::tie(b.tensor, b.begin); });
  std::vector<int64_t> ends(tensors_.size());
  const auto wrong = [&](size_t tensor, int64_t begin, int64_t end, const char* problem) {
    refuse(fmt::format("{} elements [{}, {}) of {}", problem, begin, end, quote(tensors_[tensor].name)));
  };
  for (const auto& range : ranges) {
    const auto tensor = static_cast<size_t>(range.tensor);
    if (range.begin > ends[tensor]) wrong(tensor, ends[tensor], range.begin, "no rank provides");
    if (range.begin < ends[tensor]) wrong(tensor, range.begin, std::min(ends[tensor], range.end), "more than one rank writes");
    ends[tensor] = range.end;
  }
  for (size_t i = 0; i < ends.size(); i++)
    if (ends[i] < tensors_[i].numel()) wrong(i, ends[i], tensors_[i].numel(), "no rank provides");
}

void SaveJob::commit(bool write_last) {
  if (!partial_) return;
  partial_->commit(make_manifest().to_text(), options_.fsync);
  if (write_last) try {
      replace_file(folder_ / "last", info_.name + "\n", options_.fsync);
    } catch (const IoError&) {  // a hint only, and the checkpoint is committed
    }
}

}  // namespace levin::detail
