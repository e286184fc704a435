#include "levin/data/safetensors_array.h"

#include <algorithm>

#include "../core/file.h"
#include "../core/safetensors_header.h"
#include "../core/safetensors_index.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {
namespace {

std::string remedy_for_missing(std::vector<std::string> names) {
  constexpr size_t most = 8;
  std::sort(names.begin(), names.end());
  const bool all = names.size() <= most;
  if (!all) names.resize(most);
  return names.empty() ? "save tensors into it" : fmt::format("name one of: {}{}", joined(names), all ? "" : ", ...");
}

std::filesystem::path file_with(const std::filesystem::path& path, const std::string& name) {
  using detail::SafetensorsIndex;
  if (!SafetensorsIndex::is_index(path)) return path;
  const auto index = SafetensorsIndex::from_text(SafetensorsIndex::read_text(path, "data"), path, "data");
  if (const auto found = index.file_of.find(name); found != index.file_of.end()) return path.parent_path() / found->second;
  std::vector<std::string> names;
  for (const auto& [tensor, file] : index.file_of) names.push_back(tensor);
  throw DataError(fmt::format("{}: {} is missing", path.string(), quote(name)), remedy_for_missing(std::move(names)));
}

}  // namespace

SafetensorsArray::SafetensorsArray(const std::filesystem::path& path, const std::string& name, Fp8 fp8)
    : FileArray(file_with(path, name).string(), path.string() + ": " + quote(name)) {
  using Header = detail::SafetensorsHeader;
  const auto text = Header::read_text(file(), "data");
  const uint64_t begin = Header::length_bytes + text.size();
  const bool in_index = detail::SafetensorsIndex::is_index(path);
  auto header = Header::from_text(text, file().size() - begin, in_index ? file().path() : path, "data");
  auto& tensors = header.tensors;
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const auto& tensor) { return tensor.name == name; });
  if (found == tensors.end()) {
    std::vector<std::string> names;
    names.reserve(tensors.size());
    for (const auto& tensor : tensors) names.push_back(tensor.name);
    refuse(in_index ? "is missing in " + file().path().string() : "is missing", remedy_for_missing(std::move(names)));
  }
  const bool convertible = Header::is_convertible_fp8(found->dtype);
  if (!Header::is_loaded(found->dtype) && !(fp8 == Fp8::read && convertible))
    refuse(fmt::format("has the dtype {}, which Levin does not load", c10::toString(found->dtype)),
           convertible ? "convert it, with its scales, to float32; the program levin converts its values with data.dtype: float32"
                       : "save it as float32 or an integer type");
  locate(found->dtype, std::move(found->shape), begin + found->offset);
}

}  // namespace levin
