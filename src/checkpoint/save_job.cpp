#include "save_job.h"

#include <fmt/ranges.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <tuple>

#include "coverage.h"
#include "levin/checkpoint/manifest.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "slabs.h"

namespace levin::detail {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw UsageError("checkpoint", message); }

// Compares two layout keys, which have one line per tensor.
std::string first_difference(const std::string& first, const std::string& other) {
  size_t a = 0, b = 0;
  while (a < first.size() || b < other.size()) {
    const auto line = [](const std::string& text, size_t& begin) {
      if (begin >= text.size()) return std::string("nothing");
      const size_t end = text.find('\n', begin);
      const auto found = text.substr(begin, end - begin);
      begin = end + 1;
      return quote(found);
    };
    const auto expected = line(first, a), actual = line(other, b);
    if (expected != actual) return fmt::format("rank 0 has {}, this rank {}", expected, actual);
  }
  return "the order";
}

// The regions of this rank's pieces, in the same order. UsageError for a piece that does not fit its tensor.
std::vector<Region> regions_of(const CheckpointState& state, const KnownLayout& known) {
  std::vector<Region> regions;
  for (const auto& piece : state.pieces) {
    const auto found = known.index.find(piece.name);
    if (found == known.index.end()) refuse(fmt::format("invalid piece: unknown tensor {}", quote(piece.name)));
    const auto& tensor = state.tensors[found->second];
    if (!fits(piece.slab, tensor.shape))
      refuse(piece.slab.flattened
                 ? fmt::format("invalid piece: {} of {}, which has {}", text_of(piece.slab), quote(piece.name), tensor.numel())
                 : fmt::format("invalid piece: {} of {}, which is {}", text_of(piece.slab), quote(piece.name), tensor.form()));
    regions.push_back({static_cast<int64_t>(found->second), simplified(piece.slab, tensor.shape)});
    if (!regions.back().slab.flattened && tensor.shape.size() > most_box_dimensions)
      refuse(fmt::format("invalid piece: {} has {} dimensions, boxes have at most {}; provide ranges of the flattened tensor",
                         quote(piece.name), tensor.shape.size(), most_box_dimensions));
  }
  return regions;
}

bool is_box(const Region& region) { return !region.slab.flattened; }

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
    if (first != key) refuse(fmt::format("the tensors differ from rank 0's: {}", first_difference(first, key)));
  });
  return true;
}

void SaveJob::check(const CheckpointState& state, bool changed) const {
  if (changed) check_names_and_shapes(state.tensors, state.texts);
  for (const auto& [name, text] : state.texts)  // texts can change while the layout does not
    if (text.find('\0') != std::string::npos) refuse(fmt::format("{} has a zero byte; save it as a tensor of uint8", quote(name)));
  for (const auto& [name, value] : info_.fields)
    if (first_bad_byte(name) != std::string::npos || first_bad_byte(value) != std::string::npos)
      refuse(fmt::format("the field {} is not valid UTF-8", quote(name)));
  if (info_.step < 0 || info_.epoch < 0) refuse(fmt::format("step {} and epoch {} must not be negative", info_.step, info_.epoch));
}

std::string SaveJob::key_of(const CheckpointState& state, const std::string& tensors, bool with_ranges) const {
  auto key = is_first() ? layout_key(state.tensors, state.texts) : tensors;
  for (const auto& [name, slab, data] : state.pieces)
    if (with_ranges || !slab.flattened) key += fmt::format("{} {} {} {}\n", name, slab.flattened, slab.offset, slab.extent);
  return key;
}

void SaveJob::begin(const CheckpointState& state, KnownLayout& known) {
  const auto key = layout_key(state.tensors, {});
  const bool changed = agree_on_tensors(key, !known.files || key_of(state, key, known.depends_on_pieces) != known.key);

  KnownLayout updated;
  if (changed)
    for (size_t i = 0; i < state.tensors.size(); i++) updated.index.emplace(state.tensors[i].name, i);
  std::vector<Region> pieces;
  on_all_ranks(communicator_, "checkpoint", [&] {
    if (is_first()) check(state, changed);
    pieces = regions_of(state, changed ? updated : known);
  });
  if (changed) {
    updated.depends_on_pieces =
        groups_.count() > 1 || all_sum(communicator_, std::any_of(pieces.begin(), pieces.end(), is_box) ? 1 : 0) > 0;
    updated.key = key_of(state, key, updated.depends_on_pieces);
    known = make_layouts(state, pieces, std::move(updated));
  }
  files_ = known.files;
  layout_ = known.layout;
  make_files();
  on_all_ranks(communicator_, "checkpoint", [&] { make_parts(state, pieces, known); });
}

// The data sets of this rank's file: in a single file whole tensors, in one of several files the merged pieces of its ranks. A tensor with
// boxes is stored as pieces in a single file, too.
std::vector<Region> SaveJob::regions_of_file(const CheckpointState& state, const std::vector<Region>& pieces,
                                             bool depends_on_pieces) const {
  const bool several = groups_.count() > 1;
  std::vector<Region> regions;
  std::vector<bool> whole(state.tensors.size(), !several);
  if (depends_on_pieces) {
    std::vector<int64_t> numbers{static_cast<int64_t>(groups_.file), 0};
    for (const auto& piece : pieces)
      if (elements_of(piece.slab) > 0) {
        append(numbers, piece);
        numbers[1]++;
      }
    numbers = all_gather_values(communicator_, numbers);
    for (size_t position = 0; position < numbers.size();) {
      const bool own = numbers[position] == static_cast<int64_t>(groups_.file);
      const auto count = numbers[position + 1];
      position += 2;
      for (int64_t i = 0; i < count; i++)
        if (auto region = take_region(numbers, position); own) regions.push_back(std::move(region));
    }
    for (const auto& region : regions)
      if (is_box(region)) whole[static_cast<size_t>(region.tensor)] = false;
    std::erase_if(regions, [&](const auto& region) { return whole[static_cast<size_t>(region.tensor)]; });
  }
  if (is_first())
    for (size_t i = 0; i < state.tensors.size(); i++)
      if (const int64_t numel = state.tensors[i].numel(); whole[i] || numel == 0)
        regions.push_back({static_cast<int64_t>(i), Hyperslab::range(0, numel)});
  return merged(std::move(regions));
}

KnownLayout SaveJob::make_layouts(const CheckpointState& state, const std::vector<Region>& pieces, KnownLayout known) {
  const auto regions = regions_of_file(state, pieces, known.depends_on_pieces);
  std::vector<int64_t> numbers;
  on_all_ranks(communicator_, "checkpoint", [&] {
    if (!makes_file()) return;
    known.layout = std::make_shared<const FileLayout>(
        make_layout(entries_of(regions, state.tensors), is_first() ? state.texts : std::vector<TextEntry>(), options_.alignment));
    numbers = {static_cast<int64_t>(known.layout->file_bytes), static_cast<int64_t>(known.layout->metadata_hash),
               static_cast<int64_t>(regions.size())};
    for (size_t i = 0; i < regions.size(); i++) {
      append(numbers, regions[i]);
      numbers.push_back(static_cast<int64_t>(known.layout->tensors[i].offset));
    }
  });
  std::vector<KnownLayout::StateFile> files(groups_.count());
  for (size_t number = 0; number < files.size(); number++) {
    const bool own = number == groups_.file;
    const auto received =
        broadcast_values(communicator_, own && makes_file() ? numbers : std::vector<int64_t>(), groups_.first_ranks[number]);
    auto& file = files[number];
    file.bytes = static_cast<uint64_t>(received[0]);
    file.metadata_hash = static_cast<uint64_t>(received[1]);
    if (own) known.first_dataset = known.datasets;
    known.datasets += static_cast<size_t>(received[2]);
    if (!own && !is_first()) continue;
    for (size_t position = 3; position < received.size(); position++) {
      auto region = take_region(received, position);
      const uint64_t element = c10::elementSize(state.tensors[static_cast<size_t>(region.tensor)].dtype);
      file.extents.push_back({static_cast<uint64_t>(received[position]), static_cast<uint64_t>(elements_of(region.slab)) * element});
      file.regions.push_back(std::move(region));
    }
  }
  known.files = std::make_shared<const std::vector<KnownLayout::StateFile>>(std::move(files));
  return known;
}

// Order: rank 0 creates the directory and the first file, then other ranks the other files, then the remaining ranks open them.
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

void SaveJob::make_parts(const CheckpointState& state, const std::vector<Region>& pieces, const KnownLayout& known) {
  const auto& file = (*known.files)[groups_.file];
  for (size_t i = 0; i < pieces.size(); i++) {
    const auto& piece = pieces[i];
    const auto elements = static_cast<uint64_t>(elements_of(piece.slab));
    if (elements == 0) continue;
    // A box has its own data set. A range lies in the last data set that begins at or before it.
    const auto after = std::upper_bound(file.regions.begin(), file.regions.end(), piece);
    const auto set = static_cast<size_t>(after - file.regions.begin()) - 1;
    const uint64_t element = c10::elementSize(state.tensors[static_cast<size_t>(piece.tensor)].dtype),
                   begin = static_cast<uint64_t>(piece.slab.offset[0] - file.regions[set].slab.offset[0]) * element;
    parts_.push_back({static_cast<const std::byte*>(state.pieces[i].data), elements * element, file.extents[set].offset + begin,
                      static_cast<int64_t>(known.first_dataset + set), begin});
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
  if (options_.fsync && layout_ && !is_first()) sync_directory(file_.path().parent_path());  // commit() syncs it on rank 0's host only
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
    for (size_t i = 0; i < file.regions.size(); i++) {
      const auto& region = file.regions[i];
      const auto& tensor = tensors_[static_cast<size_t>(region.tensor)];
      auto& set = manifest.datasets.emplace_back(Manifest::Dataset{tensor.name, file.extents[i].offset, file.extents[i].bytes, {}});
      set.file = number;
      if (!region.is_whole(tensor)) set.part = Manifest::Part{region.slab, tensor.shape};
    }
  }
  for (size_t i = 0; i < texts_.size(); i++)
    manifest.datasets.push_back({texts_[i].name, layout_->texts[i].offset, layout_->texts[i].bytes, {}});
  std::vector<Region> regions;
  for (const auto& file : *files_) regions.insert(regions.end(), file.regions.begin(), file.regions.end());
  add_blocks(manifest, blocks_, regions, tensors_);
  check_tensors(std::move(regions), tensors_);
  std::stable_sort(manifest.datasets.begin(), manifest.datasets.end(),
                   [](const auto& a, const auto& b) { return std::tie(a.file, a.offset) < std::tie(b.file, b.offset); });
  return manifest;
}

void SaveJob::commit(bool write_last) {
  if (!partial_) return;
  partial_->commit(make_manifest().to_text(), options_.fsync);
  if (write_last) try {
      replace_file(folder_ / "last", info_.name + "\n", options_.fsync);
    } catch (const IoError&) {  // `last` is a hint only
    }
}

}  // namespace levin::detail
