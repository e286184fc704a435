#include "hdf5_contents.h"

#include <algorithm>
#include <set>

#include "../core/hdf5_array.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

constexpr size_t most_depth = 64, most_datasets = 10'000'000;

class ContentsReader {
 public:
  explicit ContentsReader(const File& file) : path_(file.path().string()), file_bytes_(file.size()), file_(open_hdf5(file)) {
    if (!file_.good()) refuse("is not an HDF5 file, or is corrupt");
  }

  std::vector<StoredDataset> read() {
    visit_group({"", 0});
    // No recursion: the nesting of a hostile file must not overflow the stack.
    while (!groups_.empty()) {
      const auto group = groups_.back();
      groups_.pop_back();
      visit_group(group);
    }
    std::sort(found_.begin(), found_.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
    uint64_t end_before = 0;
    for (const auto& set : found_) {
      if (set.bytes == 0) continue;
      if (set.offset < end_before) refuse("overlaps another data set", set.entry.name);
      end_before = set.offset + set.bytes;
    }
    return std::move(found_);
  }

 private:
  struct Group {
    std::string name;
    size_t depth;
  };
  struct Link {
    std::string name;
    H5L_type_t type;
  };

  [[noreturn]] void refuse(const std::string& why, const std::string& name = {}) const {
    throw DataError(fmt::format("{}{} {}", path_, name.empty() ? "" : ": " + quote(name), why), "use a checkpoint that Levin wrote",
                    "checkpoint");
  }

  std::vector<Link> links_of(const Group& group) {
    const Hdf5Section section;
    std::vector<Link> links;
    hsize_t index = 0;
    const auto append = [](hid_t, const char* name, const H5L_info_t* info, void* data) -> herr_t {
      auto& list = *static_cast<std::vector<Link>*>(data);
      if (list.size() >= most_datasets) return -1;
      list.push_back({name, info->type});
      return 0;
    };
    if (H5Literate_by_name(file_, group.name.empty() ? "/" : group.name.c_str(), H5_INDEX_NAME, H5_ITER_NATIVE, &index, append, &links,
                           H5P_DEFAULT) < 0)
      refuse("is a group that cannot be read", group.name.empty() ? "/" : group.name);
    return links;
  }

  void visit_group(const Group& group) {
    for (const auto& link : links_of(group)) {
      const auto name = group.name.empty() ? link.name : group.name + "/" + link.name;
      if (link.type == H5L_TYPE_SOFT) refuse("is a soft link", name);
      if (link.type == H5L_TYPE_EXTERNAL) refuse("is a link to another file", name);
      if (link.type != H5L_TYPE_HARD) refuse("is a link of an unknown kind", name);
      if (link.name.find('/') != std::string::npos || link.name.empty() || first_bad_byte(name) != std::string::npos)
        refuse("is not a valid name", name);
      const Hdf5Section section;  // per object: other threads can use HDF5 in between
      H5O_info_t info;
      if (H5Oget_info_by_name2(file_, name.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) refuse("cannot be read", name);
      if (!addresses_.insert(info.addr).second) refuse("is hard-linked under a second name", name);
      if (info.type == H5O_TYPE_GROUP) {
        if (group.depth >= most_depth) refuse(fmt::format("is nested deeper than {} groups", most_depth), name);
        groups_.push_back({name, group.depth + 1});
      } else if (info.type == H5O_TYPE_DATASET) {
        visit(name);
      } else {
        refuse("is neither a group nor a data set", name);
      }
    }
  }

  void visit(const std::string& name) {
    if (found_.size() >= most_datasets) refuse(fmt::format("has more than {} data sets", most_datasets));
    const Hdf5Handle set(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose);
    if (!set.good()) refuse("cannot be opened", name);
    auto stored = check_array(set, file_bytes_, [&](const std::string& why, const std::string&) { refuse(why, name); });
    found_.push_back({{name, stored.dtype, std::move(stored.shape)}, stored.is_text, stored.offset, stored.bytes});
  }

  std::string path_;
  uint64_t file_bytes_;
  Hdf5Handle file_;
  std::vector<Group> groups_;
  std::set<haddr_t> addresses_;
  std::vector<StoredDataset> found_;
};

}  // namespace

std::vector<StoredDataset> read_contents(const File& file) { return ContentsReader(file).read(); }

}  // namespace levin::detail
