#include "levin/checkpoint/checkpoint_reader.h"

#include <algorithm>
#include <unordered_map>

#include "agreement.h"
#include "hdf5_contents.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/comm/communicator.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "verify.h"

namespace levin {

using detail::File;
using detail::from_first;
using detail::StoredDataset;
using detail::together;

namespace {

// Both say where things are; only what they agree on is read.
void compare(const std::vector<StoredDataset>& stored, const Manifest& manifest, const std::filesystem::path& file) {
  const auto refuse = [&](const std::string& why) {
    throw DataError(fmt::format("{}: {}", file.string(), why), "use a checkpoint that Levin wrote", "checkpoint");
  };
  std::unordered_map<std::string, const StoredDataset*> by_name;
  for (const auto& set : stored) by_name.emplace(set.entry.name, &set);
  for (const auto& set : manifest.datasets) {
    const auto found = by_name.find(set.name);
    if (found == by_name.end()) refuse(fmt::format("{} is in the manifest and not in the file", shown(set.name)));
    const auto& other = *found->second;
    if (set.offset != other.offset || set.bytes != other.bytes)
      refuse(fmt::format("{} has {} bytes from byte {} in the file, and {} from {} in the manifest", shown(set.name), other.bytes,
                         other.offset, set.bytes, set.offset));
    by_name.erase(found);
  }
  if (!by_name.empty()) refuse(fmt::format("{} is in the file and not in the manifest", shown(by_name.begin()->first)));
}

// What the manifest does not say of its data sets, as numbers: for each dtype (-1: a text), dimensions, shape.
std::vector<int64_t> types_and_shapes(const std::vector<StoredDataset>& stored, const Manifest& manifest) {
  std::unordered_map<std::string, const StoredDataset*> by_name;
  for (const auto& set : stored) by_name.emplace(set.entry.name, &set);
  std::vector<int64_t> numbers;
  for (const auto& set : manifest.datasets) {
    const auto& found = *by_name.at(set.name);
    numbers.push_back(found.is_text ? -1 : static_cast<int64_t>(found.entry.dtype));
    numbers.push_back(static_cast<int64_t>(found.entry.shape.size()));
    numbers.insert(numbers.end(), found.entry.shape.begin(), found.entry.shape.end());
  }
  return numbers;
}

}  // namespace

class CheckpointReader::Implementation {
 public:
  Implementation(const std::filesystem::path& checkpoint, Communicator* communicator, const CheckpointReaderOptions& options)
      : path_(checkpoint), communicator_(communicator), options_(options) {
    const bool first = !communicator || communicator->rank() == 0;
    // Rank 0 alone reads what is small: on many ranks a file system would suffer.
    detail::together(communicator, [&] {
      if (first) manifest_ = Manifest::read(checkpoint);
    });
    if (const auto text = from_first(communicator, communicator && first ? manifest_.to_text() : std::string()); !first)
      manifest_ = Manifest::from_text(text, checkpoint / Manifest::file_name);
    detail::together(communicator, [&] { file_ = File::open_to_read(checkpoint / manifest_.file); });
    detail::verify(file_, manifest_, communicator, [this](const std::string& name) { return comes_later(name); });

    std::vector<int64_t> numbers;
    detail::together(communicator, [&] {
      if (!first) return;
      const auto stored = detail::read_contents(file_);
      compare(stored, manifest_, file_.path());
      numbers = types_and_shapes(stored, manifest_);
    });
    numbers = from_first(communicator, std::move(numbers));
    detail::together(communicator, [&] { take(numbers); });
  }

  void read(const std::string& name, int64_t begin, int64_t end, void* memory) const {
    const auto found = index_.find(name);
    if (found == index_.end()) throw DataError(fmt::format("{} has no tensor {}", path_.string(), shown(name)), {}, "checkpoint");
    const auto& tensor = tensors_[found->second.tensor];
    if (begin < 0 || begin > end || end > tensor.numel())
      throw DataError(
          fmt::format("{}: elements [{}, {}) of {} were asked for, and it has {}", path_.string(), begin, end, shown(name), tensor.numel()),
          {}, "checkpoint");
    const auto element = c10::elementSize(tensor.dtype), first = static_cast<uint64_t>(begin) * element;
    const auto& set = manifest_.datasets[found->second.dataset];
    if (comes_later(name))
      detail::read_verified(file_, set, first, static_cast<uint64_t>(end) * element, memory);
    else
      file_.read_at(memory, static_cast<size_t>(end - begin) * element, set.offset + first);
  }

  struct Place {
    size_t tensor, dataset;
  };

  std::filesystem::path path_;
  Communicator* communicator_;
  CheckpointReaderOptions options_;
  Manifest manifest_;
  File file_;
  std::vector<TensorEntry> tensors_;
  std::unordered_map<std::string, Place> index_;
  std::map<std::string, std::string> texts_;

 private:
  bool comes_later(const std::string& name) const {
    const auto& beginnings = options_.verify_on_read;
    return std::any_of(beginnings.begin(), beginnings.end(), [&](const auto& one) { return name.starts_with(one); });
  }

  void take(const std::vector<int64_t>& numbers) {
    size_t at = 0;
    for (size_t number = 0; number < manifest_.datasets.size(); number++) {
      const auto& set = manifest_.datasets[number];
      const int64_t dtype = numbers.at(at), dims = numbers.at(at + 1);
      at += 2;
      if (dtype < 0) {
        std::string text(set.bytes, '\0');
        detail::read_verified(file_, set, 0, set.bytes, text.data());
        text.erase(text.find_last_not_of('\0') + 1);
        texts_[set.name] = text;
      } else {
        const auto shape = numbers.begin() + static_cast<std::ptrdiff_t>(at);
        index_.emplace(set.name, Place{tensors_.size(), number});
        tensors_.push_back({set.name, static_cast<c10::ScalarType>(dtype), {shape, shape + dims}});
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
  return found == implementation_->index_.end() ? nullptr : &implementation_->tensors_[found->second.tensor];
}
void CheckpointReader::read(const std::string& name, int64_t begin, int64_t end, void* memory) const {
  implementation_->read(name, begin, end, memory);
}
void CheckpointReader::together(const std::function<void()>& reads) const { detail::together(implementation_->communicator_, reads); }
const std::map<std::string, std::string>& CheckpointReader::texts() const noexcept { return implementation_->texts_; }

NewestCheckpoint newest_checkpoint(const std::filesystem::path& folder, Communicator& communicator, const CheckpointReaderOptions& options,
                                   const std::vector<std::filesystem::path>& passed_over) {
  std::vector<std::string> paths;
  NewestCheckpoint found;
  auto& refused = found.refused;
  together(&communicator, [&] {
    if (communicator.rank() != 0) return;
    auto listing = list_checkpoints(folder);
    for (const auto& one : listing.checkpoints)
      if (std::find(passed_over.begin(), passed_over.end(), one.path) == passed_over.end()) paths.push_back(one.path.string());
    refused = std::move(listing.refused);
  });
  const auto count =
      from_first(&communicator, std::vector<int64_t>{static_cast<int64_t>(paths.size()), static_cast<int64_t>(refused.size())});
  paths.resize(static_cast<size_t>(count[0]));
  refused.resize(static_cast<size_t>(count[1]));
  for (auto& why : refused) why = from_first(&communicator, why);
  while (!paths.empty()) {
    const std::filesystem::path path = from_first(&communicator, paths.back());
    paths.pop_back();
    // Where there is no other to take in its place, a reader must know before anything is loaded.
    const bool last = paths.empty();
    try {
      found.reader = std::make_unique<CheckpointReader>(path, communicator, last ? CheckpointReaderOptions() : options);
      break;
    } catch (const CommunicatorAborted&) {
      throw;
    } catch (const CommunicatorError&) {
      throw;
    } catch (const Error& error) {  // the same on all ranks
      refused.emplace_back(error.what());
    }
  }
  return found;
}

}  // namespace levin
