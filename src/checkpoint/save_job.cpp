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
std::vector<Region> regions_of(const CheckpointState& state, const KnownLayout& known) {
  std::vector<Region> regions;
  for (const auto& piece : state.pieces) {
    const auto found = known.index.find(piece.name);
    if (found == known.index.end()) refuse(fmt::format("a piece of the unknown tensor {}", quote(piece.name)));
    const auto& tensor = state.tensors[found->second];
    if (!fits(piece.slab, tensor.shape))
      refuse(piece.slab.flattened
                 ? fmt::format("a piece of {} with {} of {}", quote(piece.name), text_of(piece.slab), tensor.numel())
                 : fmt::format("a piece of {}, which is {}, with {}", quote(piece.name), tensor.form(), text_of(piece.slab)));
    regions.push_back({static_cast<int64_t>(found->second), simplified(piece.slab, tensor.shape)});
    if (!regions.back().slab.flattened && tensor.shape.size() > most_box_dimensions)
      refuse(fmt::format("a piece of {} is a box of {} dimensions, at most {} are supported; provide ranges of the flattened tensor",
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

std::string SaveJob::key_of(const CheckpointState& state, const std::string& tensors, bool of_pieces) const {
  auto key = is_first() ? layout_key(state.tensors, state.texts) : tensors;
  for (const auto& [name, slab, data] : state.pieces)
    if (of_pieces || !slab.flattened) key += fmt::format("{} {} {} {}\n", name, slab.flattened, slab.offset, slab.extent);
  return key;
}

void SaveJob::begin(const CheckpointState& state, KnownLayout& known) {
  const auto key = layout_key(state.tensors, {});
  const bool changed = agree_on_tensors(key, !known.files || key_of(state, key, known.of_pieces) != known.key);

  KnownLayout another;
  if (changed)
    for (size_t i = 0; i < state.tensors.size(); i++) another.index.emplace(state.tensors[i].name, i);
  std::vector<Region> pieces;
  on_all_ranks(communicator_, "checkpoint", [&] {
    if (is_first()) check(state, changed);
    pieces = regions_of(state, changed ? another : known);
  });
  if (changed) {
    another.of_pieces = groups_.count() > 1 || all_sum(communicator_, std::any_of(pieces.begin(), pieces.end(), is_box) ? 1 : 0) > 0;
    another.key = key_of(state, key, another.of_pieces);
    known = make_layout_of_all(state, pieces, std::move(another));
  }
  files_ = known.files;
  layout_ = known.mine;
  make_files();
  on_all_ranks(communicator_, "checkpoint", [&] { make_parts(state, pieces, known); });
}

// What the data sets of this rank's file are: whole tensors where there is one file, else what its ranks have of them. In one file, too, a
// tensor with boxes is stored as its ranks have it.
std::vector<Region> SaveJob::regions_of_file(const CheckpointState& state, const std::vector<Region>& pieces, bool of_pieces) const {
  const bool several = groups_.count() > 1;
  std::vector<Region> regions;
  std::vector<bool> whole(state.tensors.size(), !several);
  if (of_pieces) {
    std::vector<int64_t> numbers{static_cast<int64_t>(groups_.mine), 0};
    for (const auto& piece : pieces)
      if (elements_of(piece.slab) > 0) {
        append(numbers, piece);
        numbers[1]++;
      }
    numbers = all_gather_values(communicator_, numbers);
    for (size_t at = 0; at < numbers.size();) {
      const bool mine = numbers[at] == static_cast<int64_t>(groups_.mine);
      const auto count = numbers[at + 1];
      at += 2;
      for (int64_t i = 0; i < count; i++)
        if (auto region = take_region(numbers, at); mine) regions.push_back(std::move(region));
    }
    for (const auto& region : regions)
      if (is_box(region)) whole[static_cast<size_t>(region.tensor)] = false;
    std::erase_if(regions, [&](const auto& region) { return whole[static_cast<size_t>(region.tensor)]; });
  }
  if (is_first())
    for (size_t i = 0; i < state.tensors.size(); i++)
      if (const int64_t numel = state.tensors[i].numel(); whole[i] || numel == 0)
        regions.push_back({static_cast<int64_t>(i), Hyperslab::range(0, numel)});
  return united(std::move(regions));
}

KnownLayout SaveJob::make_layout_of_all(const CheckpointState& state, const std::vector<Region>& pieces, KnownLayout known) {
  const auto regions = regions_of_file(state, pieces, known.of_pieces);
  std::vector<int64_t> numbers;
  on_all_ranks(communicator_, "checkpoint", [&] {
    if (!makes_file()) return;
    known.mine = std::make_shared<const FileLayout>(
        make_layout(entries_of(regions, state.tensors), is_first() ? state.texts : std::vector<TextEntry>(), options_.alignment));
    numbers = {static_cast<int64_t>(known.mine->file_bytes), static_cast<int64_t>(known.mine->metadata_hash),
               static_cast<int64_t>(regions.size())};
    for (size_t i = 0; i < regions.size(); i++) {
      append(numbers, regions[i]);
      numbers.push_back(static_cast<int64_t>(known.mine->tensors[i].offset));
    }
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
    known.datasets += static_cast<size_t>(received[2]);
    if (!mine && !is_first()) continue;
    for (size_t at = 3; at < received.size(); at++) {
      auto region = take_region(received, at);
      const uint64_t element = c10::elementSize(state.tensors[static_cast<size_t>(region.tensor)].dtype);
      file.extents.push_back({static_cast<uint64_t>(received[at]), static_cast<uint64_t>(elements_of(region.slab)) * element});
      file.regions.push_back(std::move(region));
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

void SaveJob::make_parts(const CheckpointState& state, const std::vector<Region>& pieces, const KnownLayout& known) {
  const auto& file = (*known.files)[groups_.mine];
  for (size_t i = 0; i < pieces.size(); i++) {
    const auto& piece = pieces[i];
    const auto elements = static_cast<uint64_t>(elements_of(piece.slab));
    if (elements == 0) continue;
    // A box has its own; a range is in the last that begins where it does, or before.
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
    } catch (const IoError&) {  // a hint only, and the checkpoint is committed
    }
}

}  // namespace levin::detail
