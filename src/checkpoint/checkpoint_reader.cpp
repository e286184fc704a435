#include "levin/checkpoint/checkpoint_reader.h"

#include <algorithm>
#include <unordered_map>

#include "hdf5_contents.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "verify.h"

namespace levin {

using detail::File;
using detail::StoredDataset;

namespace {

/// A file with its data sets in the manifest.
struct ManifestFile {
  const File& file;
  std::vector<const Manifest::Dataset*> datasets;
};

// Manifest and HDF5 metadata must agree on every location before anything is read.
std::unordered_map<std::string, const StoredDataset*> compare(const std::vector<StoredDataset>& stored, const ManifestFile& described) {
  const auto refuse = [&](const std::string& why) {
    throw DataError(fmt::format("{}: {}", described.file.path().string(), why), "use a checkpoint that Levin wrote", "checkpoint");
  };
  std::unordered_map<std::string, const StoredDataset*> by_name, agreed;
  for (const auto& set : stored) by_name.emplace(set.entry.name, &set);
  for (const auto* set : described.datasets) {
    const auto name = set->stored_name();
    const auto found = by_name.find(name);
    if (found == by_name.end()) refuse(fmt::format("{} is in the manifest but not in the file", quote(name)));
    const auto& other = *found->second;
    if (set->offset != other.offset || set->bytes != other.bytes)
      refuse(fmt::format("{}: the file has {} bytes at byte {}, the manifest {} at {}", quote(name), other.bytes, other.offset, set->bytes,
                         set->offset));
    if (set->part && (other.is_text || other.entry.shape != set->part->slab.extent))
      refuse(fmt::format("{}: the file has {}, the manifest {}", quote(name), other.entry.form(), detail::text_of(set->part->slab)));
    agreed.insert(by_name.extract(found));
  }
  if (!by_name.empty()) refuse(fmt::format("{} is in the file but not in the manifest", quote(by_name.begin()->first)));
  return agreed;
}

// The HDF5 metadata that the manifest lacks, as numbers to broadcast; for each data set dtype (-1: text), number of dimensions, shape.
std::vector<int64_t> types_and_shapes(const ManifestFile& described) {
  const auto stored = detail::read_contents(described.file);
  const auto by_name = compare(stored, described);
  std::vector<int64_t> numbers;
  for (const auto* set : described.datasets) {
    const auto& found = *by_name.at(set->stored_name());
    const auto& shape = set->part ? set->part->shape : found.entry.shape;
    numbers.push_back(found.is_text ? -1 : static_cast<int64_t>(found.entry.dtype));
    numbers.push_back(static_cast<int64_t>(shape.size()));
    numbers.insert(numbers.end(), shape.begin(), shape.end());
  }
  return numbers;
}

}  // namespace

class CheckpointReader::Implementation {
 public:
  Implementation(const std::filesystem::path& checkpoint, Communicator* communicator, const CheckpointReaderOptions& options)
      : path_(checkpoint), communicator_(communicator), options_(options) {
    const bool first = !communicator || communicator->rank() == 0;
    // Only rank 0 reads the manifest: thousands of readers of one small file would overload a parallel file system.
    std::string text;
    on_all_ranks(communicator, "checkpoint", [&] {
      if (!first) return;
      text = Manifest::read_text(checkpoint);
      manifest_ = Manifest::from_text(text, checkpoint / Manifest::file_name);
    });
    text = broadcast_text(communicator, text);
    if (!first) manifest_ = Manifest::from_text(text, checkpoint / Manifest::file_name);
    on_all_ranks(communicator, "checkpoint", [&] {
      for (const auto& file : manifest_.files) files_.push_back(File::open_to_read(checkpoint / file.name));
    });
    detail::verify(files_, manifest_, communicator, [this](const std::string& name) { return verified_on_read(name); });

    // Each file is opened by HDF5 on one rank only; the files are distributed over the ranks.
    const auto ranks = static_cast<size_t>(communicator ? communicator->size() : 1),
               rank = static_cast<size_t>(communicator ? communicator->rank() : 0);
    std::vector<std::vector<int64_t>> numbers(files_.size());
    on_all_ranks(communicator, "checkpoint", [&] {
      for (size_t i = rank; i < files_.size(); i += ranks) {
        ManifestFile described{files_[i], {}};
        for (const auto& set : manifest_.datasets)
          if (set.file == i) described.datasets.push_back(&set);
        numbers[i] = types_and_shapes(described);
      }
    });
    std::vector<int64_t> all;
    for (size_t i = 0; i < files_.size(); i++) {
      const auto received = broadcast_values(communicator, std::move(numbers[i]), static_cast<int>(i % ranks));
      all.insert(all.end(), received.begin(), received.end());
    }
    on_all_ranks(communicator, "checkpoint", [&] { add_datasets(all); });
  }

  void read(const std::string& name, int64_t begin, int64_t end, void* memory) const {
    const auto number = number_of(name);
    const auto& tensor = tensors_[number];
    if (begin < 0 || begin > end || end > tensor.numel())
      throw DataError(
          fmt::format("{}: elements [{}, {}) of {} requested, it has {}", path_.string(), begin, end, quote(name), tensor.numel()), {},
          "checkpoint");
    read(number, Hyperslab::range(begin, end), static_cast<std::byte*>(memory));
  }

  void read(const std::string& name, const Hyperslab& slab, void* memory) const {
    const auto number = number_of(name);
    detail::check_slab(path_, tensors_[number], slab);
    read(number, detail::simplified(slab, tensors_[number].shape), static_cast<std::byte*>(memory));
  }

  std::filesystem::path path_;
  Communicator* communicator_;
  CheckpointReaderOptions options_;
  Manifest manifest_;
  std::vector<File> files_;  ///< in the order of the manifest
  std::vector<TensorEntry> tensors_;
  std::vector<std::vector<const Manifest::Dataset*>> datasets_;  ///< by tensor: the whole tensor, or its parts
  std::unordered_map<std::string, size_t> index_;
  std::map<std::string, std::string> texts_;

 private:
  bool verified_on_read(const std::string& name) const {
    const auto& prefixes = options_.verify_on_read;
    return std::any_of(prefixes.begin(), prefixes.end(), [&](const auto& prefix) { return name.starts_with(prefix); });
  }

  size_t number_of(const std::string& name) const {
    const auto found = index_.find(name);
    if (found == index_.end()) throw DataError(fmt::format("{} has no tensor {}", path_.string(), quote(name)), {}, "checkpoint");
    return found->second;
  }

  void read(size_t number, const Hyperslab& wanted, std::byte* memory) const {
    const auto& tensor = tensors_[number];
    const auto element = static_cast<int64_t>(c10::elementSize(tensor.dtype));
    const bool verify = verified_on_read(tensor.name);
    const auto whole = Hyperslab::range(0, tensor.numel());
    for (const auto* set : datasets_[number]) {
      const auto& stored = set->part ? set->part->slab : whole;
      if (stored.flattened && wanted.flattened) {
        const int64_t from = std::max(wanted.offset[0], stored.offset[0]),
                      to = std::min(wanted.offset[0] + wanted.extent[0], stored.offset[0] + stored.extent[0]);
        if (from < to) read_run(*set, element, {from - stored.offset[0], from - wanted.offset[0], to - from}, memory, verify);
        continue;
      }
      for (const auto& runs : detail::runs_between(stored, wanted, tensor.shape)) {
        if (runs.single())
          read_run(*set, element, runs.run(), memory, verify);
        else
          read_runs(*set, {runs, static_cast<uint64_t>(element), memory}, verify);
      }
    }
  }

  void read_run(const Manifest::Dataset& set, int64_t element, const detail::SlabRun& run, std::byte* memory, bool verify) const {
    const auto bytes = [&](int64_t elements) { return static_cast<uint64_t>(elements * element); };
    auto* target = memory + bytes(run.to);
    const auto& file = files_[set.file];
    if (verify)
      detail::read_verified(file, set, bytes(run.from), bytes(run.from + run.elements), target);
    else
      file.read_at(target, bytes(run.elements), set.offset + bytes(run.from));
  }

  void read_runs(const Manifest::Dataset& set, detail::RunCopier runs, bool verify) const {
    const auto& file = files_[set.file];
    if (verify)
      detail::read_verified(file, set, std::move(runs));
    else
      runs.read_rest([&](uint64_t begin, uint64_t end, std::byte* to) { file.read_at(to, end - begin, set.offset + begin); });
  }

  void add_datasets(const std::vector<int64_t>& numbers) {
    size_t at = 0;
    for (const auto& set : manifest_.datasets) {
      const int64_t dtype = numbers.at(at), dims = numbers.at(at + 1);
      at += 2;
      if (dtype < 0) {
        std::string text(set.bytes, '\0');
        detail::read_verified(files_[set.file], set, 0, set.bytes, text.data());
        text.erase(text.find_last_not_of('\0') + 1);
        texts_[set.name] = text;
      } else {
        const auto shape = numbers.begin() + static_cast<std::ptrdiff_t>(at);
        const auto [known, added] = index_.emplace(set.name, tensors_.size());
        if (added) {
          tensors_.push_back({set.name, static_cast<c10::ScalarType>(dtype), {shape, shape + dims}});
          datasets_.emplace_back();
        }
        if (const auto& tensor = tensors_[known->second]; tensor.dtype != static_cast<c10::ScalarType>(dtype))
          throw DataError(fmt::format("{}: {} has parts of different types", path_.string(), quote(set.name)),
                          "use a checkpoint that Levin wrote", "checkpoint");
        datasets_[known->second].push_back(&set);
      }
      at += static_cast<size_t>(dims);
    }
  }
};

CheckpointReader::CheckpointReader(const std::filesystem::path& checkpoint, Communicator* communicator,
                                   const CheckpointReaderOptions& options)
    : implementation_(std::make_unique<Implementation>(checkpoint, communicator, options)) {}
CheckpointReader::~CheckpointReader() = default;
CheckpointReader::CheckpointReader(CheckpointReader&&) noexcept = default;
CheckpointReader& CheckpointReader::operator=(CheckpointReader&&) noexcept = default;

const std::filesystem::path& CheckpointReader::path() const noexcept { return implementation_->path_; }
const Manifest& CheckpointReader::manifest() const noexcept { return implementation_->manifest_; }
const std::vector<TensorEntry>& CheckpointReader::tensors() const noexcept { return implementation_->tensors_; }
const TensorEntry* CheckpointReader::find(const std::string& name) const noexcept {
  const auto found = implementation_->index_.find(name);
  return found == implementation_->index_.end() ? nullptr : &implementation_->tensors_[found->second];
}
void CheckpointReader::read(const std::string& name, int64_t begin, int64_t end, void* memory) const {
  implementation_->read(name, begin, end, memory);
}
void CheckpointReader::read(const std::string& name, const Hyperslab& slab, void* memory) const {
  implementation_->read(name, slab, memory);
}
void CheckpointReader::together(const std::function<void()>& reads) const {
  on_all_ranks(implementation_->communicator_, "checkpoint", reads);
}
const std::map<std::string, std::string>& CheckpointReader::texts() const noexcept { return implementation_->texts_; }

NewestCheckpoint newest_checkpoint(const std::filesystem::path& folder, Communicator& communicator, const CheckpointReaderOptions& options,
                                   const std::vector<std::filesystem::path>& passed_over) {
  return newest_checkpoint(std::vector{folder}, communicator, options, passed_over);
}

NewestCheckpoint newest_checkpoint(const std::vector<std::filesystem::path>& folders, Communicator& communicator,
                                   const CheckpointReaderOptions& options, const std::vector<std::filesystem::path>& passed_over) {
  std::vector<std::string> paths;
  NewestCheckpoint found;
  auto& refused = found.refused;
  on_all_ranks(&communicator, "checkpoint", [&] {
    if (communicator.rank() != 0) return;
    const auto listing = list_checkpoints(folders);
    for (const auto& checkpoint : listing.checkpoints)
      if (std::find(passed_over.begin(), passed_over.end(), checkpoint.path) == passed_over.end())
        paths.push_back(checkpoint.path.string());
    refused = listing.refused;
  });
  const auto count =
      broadcast_values(&communicator, std::vector<int64_t>{static_cast<int64_t>(paths.size()), static_cast<int64_t>(refused.size())});
  paths.resize(static_cast<size_t>(count[0]));
  refused.resize(static_cast<size_t>(count[1]));
  for (auto& message : refused) message = broadcast_text(&communicator, message);
  while (!paths.empty()) {
    const std::filesystem::path path = broadcast_text(&communicator, paths.back());
    paths.pop_back();
    // The last candidate has no replacement, so corruption must be found before anything is loaded.
    const bool last = paths.empty();
    try {
      found.reader = std::make_unique<CheckpointReader>(path, communicator, last ? CheckpointReaderOptions() : options);
      break;
    } catch (const DataError& error) {  // thrown on all ranks; a file that cannot be read now is not corrupt, so IoError ends the search
      refused.emplace_back(error.what());
    }
  }
  return found;
}

}  // namespace levin
