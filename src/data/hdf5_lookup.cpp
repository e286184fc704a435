#include "hdf5_lookup.h"

#include <fmt/format.h>

#include <algorithm>

#include "levin/core/text.h"

namespace levin::detail {
namespace {

constexpr size_t most_names = 8;  // in a message

std::vector<std::string> parts_of(const std::string& name) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    if (end > begin) parts.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::vector<std::string> members_of(hid_t file, const std::string& group) {
  std::vector<std::string> names;
  const auto note = [](hid_t, const char* name, const H5L_info_t*, void* data) -> herr_t {
    auto& noted = *static_cast<std::vector<std::string>*>(data);
    noted.emplace_back(name);
    return noted.size() > 1000;  // a hostile file must not choose our memory
  };
  hsize_t index = 0;
  H5Literate_by_name(file, group.empty() ? "/" : group.c_str(), H5_INDEX_NAME, H5_ITER_INC, &index, note, &names, H5P_DEFAULT);
  return names;
}

std::string remedy_listing(hid_t file, const std::string& group, const std::string& requested) {
  auto names = members_of(file, group);
  if (names.empty()) return "write data sets into it";
  const auto near = requested.empty() ? std::string() : nearest_name(requested, names);
  const auto full = [&](const std::string& name) { return sanitized(group.empty() ? name : group + "/" + name); };
  if (!near.empty()) return fmt::format("did you mean {}?", full(near));
  const bool all = names.size() <= most_names;
  if (!all) names.resize(most_names);
  for (auto& name : names) name = full(name);
  return fmt::format("name one of: {}{}", joined(names), all ? "" : ", ...");
}

H5O_type_t type_of(hid_t file, const std::string& path) {
  H5O_info_t info;
  return H5Oget_info_by_name2(file, path.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0 ? H5O_TYPE_UNKNOWN : info.type;
}

// A link may lead anywhere, even into another file.
void refuse_link(hid_t file, const H5L_info_t& link, const std::string& path, const RefuseArray& refuse) {
  constexpr size_t most_bytes = 4096;
  std::vector<char> value(most_bytes + 1, '\0');
  if (link.u.val_size > most_bytes || H5Lget_val(file, path.c_str(), value.data(), most_bytes, H5P_DEFAULT) < 0)
    refuse(fmt::format("leads over a link that cannot be read, {}", quote(path)), "write the file again");
  if (link.type == H5L_TYPE_SOFT)
    refuse(fmt::format("leads over a soft link, {} to {}", quote(path), quote(value.data())), "name the data set that it links to");
  const char *target = nullptr, *object = nullptr;
  unsigned flags = 0;
  if (link.type == H5L_TYPE_EXTERNAL && H5Lunpack_elink_val(value.data(), link.u.val_size, &flags, &target, &object) >= 0)
    refuse(fmt::format("leads over an external link, {} to {} in {}", quote(path), quote(object), quote(target)), "read that file instead");
  refuse(fmt::format("leads over a link of an unknown kind, {}", quote(path)), "name a data set of the file itself");
}

}  // namespace

Hdf5Handle open_data_set(hid_t file, const std::string& name, const RefuseArray& refuse) {
  const auto parts = parts_of(name);
  if (parts.empty() || first_bad_byte(name) != std::string::npos) refuse("is not the name of a data set", remedy_listing(file, "", ""));
  std::string path;
  for (const auto& part : parts) {
    const std::string group = path;
    if (!group.empty() && type_of(file, group) != H5O_TYPE_GROUP)
      refuse(fmt::format("is missing: {} is a data set, not a group", quote(group)), fmt::format("did you mean {}?", sanitized(group)));
    path += (path.empty() ? "" : "/") + part;
    H5L_info_t link;
    if (part == "." || part == ".." || H5Lexists(file, path.c_str(), H5P_DEFAULT) <= 0 ||
        H5Lget_info(file, path.c_str(), &link, H5P_DEFAULT) < 0)
      refuse(&part == &parts.back() ? "is missing" : fmt::format("is missing: the file has no group {}", quote(path)),
             remedy_listing(file, group, part));
    if (link.type != H5L_TYPE_HARD) refuse_link(file, link, path, refuse);
  }
  const auto type = type_of(file, path);
  if (type == H5O_TYPE_GROUP) refuse("is a group, not a data set", remedy_listing(file, path, ""));
  Hdf5Handle set(H5Dopen2(file, path.c_str(), H5P_DEFAULT), H5Dclose);
  if (!set.good())
    refuse(type == H5O_TYPE_NAMED_DATATYPE ? "is a named type, not a data set" : "cannot be opened", remedy_listing(file, "", ""));
  return set;
}

}  // namespace levin::detail
