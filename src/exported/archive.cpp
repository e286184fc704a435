#include "archive.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "json_tree.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "zip_file.h"

namespace levin::exported {
namespace {

/// The kind of another file with this suffix, such as one of torch.save, and the remedy; empty for an archive of torch.export.
std::pair<std::string, std::string> other_archive(const std::set<std::string>& records) {
  const auto has = [&](const char* name) { return records.count(name) != 0; };
  const auto folder = [&](const std::string& name) {
    const auto next = records.lower_bound(name);
    return next != records.end() && next->starts_with(name);
  };
  constexpr auto program = "export the model with levin.export or torch.export.save";
  if (has("archive_format") && folder("models/")) return {};
  if (folder("data/aotinductor/")) return {"a package of AOTInductor, which has compiled code and no graph", program};
  if (has("constants.pkl")) return {"a TorchScript archive", program};
  if (has("data.pkl")) return {"an archive of torch.save: weights without a graph", program};
  return {"a zip file, but no archive of torch.export", program};
}

}  // namespace

class Archive::Implementation {
 public:
  explicit Implementation(const std::filesystem::path& path) : file_(path) {
    // All entries are in one folder, whose name is the file's when it was written.
    std::set<std::string> folders, names;
    for (const auto& [name, entry] : file_.entries()) {
      const auto slash = name.find('/');
      folders.insert(name.substr(0, slash));
      names.insert(slash == std::string::npos ? name : name.substr(slash + 1));
    }
    const auto refuse = [&](const std::string& why) {
      throw DataError(fmt::format("{}: {}", path.string(), why), export_again, "exported");
    };
    if (folders.empty()) refuse("the archive is empty");
    if (folders.size() > 1)
      refuse(fmt::format("entries are in the folders {} and {}, not in one", quote(*folders.begin()), quote(*folders.rbegin())));
    folder_ = *folders.begin() + "/";
    if (const auto [kind, remedy] = other_archive(names); !kind.empty())
      throw ConfigError(fmt::format("{} is {}", path.string(), kind), remedy, "exported");
    expect("archive_format", "pt2");
    expect("archive_version", "0");
    if (find("byteorder")) expect("byteorder", "little");
  }

  const ZipFile::Entry* find(const std::string& record) const {
    const auto found = file_.entries().find(folder_ + record);
    return found == file_.entries().end() ? nullptr : &found->second;
  }
  const ZipFile::Entry& get(const std::string& record) const {
    if (const auto* entry = find(record)) return *entry;
    throw DataError(fmt::format("{}: {} is missing", file_.path().string(), quote(record)), export_again, "exported");
  }

  std::string text(const std::string& record, uint64_t most_bytes) const {
    const auto& entry = get(record);
    if (entry.bytes > most_bytes)
      throw DataError(fmt::format("{}: {} has {} bytes, more than {}", file_.path().string(), quote(record), entry.bytes, most_bytes),
                      export_again, "exported");
    std::string result(entry.bytes, '\0');
    file_.read(entry, 0, result.data(), result.size());
    file_.check(entry, result.data());
    return result;
  }

  std::string head(const std::string& record, uint64_t bytes) const {
    const auto& entry = get(record);
    std::string result(std::min(bytes, entry.bytes), '\0');
    file_.read(entry, 0, result.data(), result.size());
    return result;
  }

  void read(const std::string& record, uint64_t begin, void* memory, uint64_t bytes) const {
    const auto& entry = get(record);
    const bool whole = begin == 0 && bytes == entry.bytes;
    const std::lock_guard lock(mutex_);
    if (!whole && checked_.count(record) == 0) file_.check(entry);
    file_.read(entry, begin, memory, bytes);
    if (whole && checked_.count(record) == 0) file_.check(entry, memory);
    checked_.insert(record);
  }

  const ZipFile& file() const noexcept { return file_; }
  const std::string& folder() const noexcept { return folder_; }

 private:
  void expect(const std::string& record, const std::string& value) const {
    constexpr uint64_t most_bytes = 100;
    const auto found = text(record, most_bytes);
    if (found != value)
      throw ConfigError(fmt::format("{}: its {} is {}, Levin reads {}", file_.path().string(), record, quote(found), quote(value)),
                        "export the model with PyTorch 2.11 on a little-endian machine", "exported");
  }

  ZipFile file_;
  std::string folder_;
  mutable std::mutex mutex_;
  mutable std::set<std::string> checked_;  ///< entries whose checksum was compared
};

Archive::Archive(const std::filesystem::path& path) : implementation_(std::make_unique<Implementation>(path)) {}
Archive::~Archive() = default;
Archive::Archive(Archive&&) noexcept = default;
Archive& Archive::operator=(Archive&&) noexcept = default;

const std::filesystem::path& Archive::path() const noexcept { return implementation_->file().path(); }
bool Archive::has(const std::string& record) const { return implementation_->find(record) != nullptr; }
uint64_t Archive::size(const std::string& record) const { return implementation_->get(record).bytes; }
uint64_t Archive::bytes() const noexcept { return implementation_->file().bytes(); }
std::string Archive::text(const std::string& record, uint64_t most_bytes) const { return implementation_->text(record, most_bytes); }
std::string Archive::head(const std::string& record, uint64_t bytes) const { return implementation_->head(record, bytes); }

std::vector<std::string> Archive::records() const {
  std::vector<std::string> result;
  for (const auto& [name, entry] : implementation_->file().entries()) result.push_back(name.substr(implementation_->folder().size()));
  return result;
}

at::Tensor Archive::load(const Weight& weight) const {
  const auto options = at::TensorOptions().dtype(weight.dtype);
  int64_t elements = 1;  // from the first to the last in memory
  for (size_t i = 0; i < weight.sizes.size(); i++) {
    if (weight.sizes[i] == 0) return at::empty(weight.sizes, options);
    elements += (weight.sizes[i] - 1) * weight.strides[i];
  }
  auto memory = at::empty({elements}, options);
  const auto bytes = memory.nbytes();
  implementation_->read(weight.record, weight.begin, memory.mutable_data_ptr(), bytes);
  if (weight.dtype == at::ScalarType::Bool) {  // any other value is undefined behaviour
    const auto* values = static_cast<const uint8_t*>(memory.const_data_ptr());
    if (const auto* bad = std::find_if(values, values + bytes, [](uint8_t value) { return value > 1; }); bad != values + bytes)
      throw DataError(fmt::format("{}: {} has the value {}, its dtype is bool", path().string(), quote(weight.name), *bad), export_again,
                      "exported");
  }
  const auto view = memory.as_strided(weight.sizes, weight.strides);
  return view.is_non_overlapping_and_dense() ? view : view.contiguous();
}

}  // namespace levin::exported
