#include "levin/data/safetensors_array.h"

#include <algorithm>

#include "../core/file.h"
#include "../core/safetensors_header.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {

SafetensorsArray::SafetensorsArray(const std::filesystem::path& path, const std::string& name)
    : FileArray(path.string(), path.string() + ": " + quote(name)) {
  using Header = detail::SafetensorsHeader;
  const auto text = Header::read_text(file(), "data");
  const uint64_t begin = Header::length_bytes + text.size();
  auto header = Header::from_text(text, file().size() - begin, path, "data");
  auto& tensors = header.tensors;
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const auto& tensor) { return tensor.name == name; });
  if (found == tensors.end()) {
    std::vector<std::string> names;
    for (const auto& tensor : tensors) names.push_back(tensor.name);
    std::sort(names.begin(), names.end());
    constexpr size_t most = 8;
    const bool all = names.size() <= most;
    if (!all) names.resize(most);
    refuse("is missing", names.empty() ? "save tensors into it" : fmt::format("name one of: {}{}", joined(names), all ? "" : ", ..."));
  }
  if (!Header::is_loaded(found->dtype))
    refuse(fmt::format("has the dtype {}, which Levin does not load", c10::toString(found->dtype)),
           "save it as float32 or an integer type");
  locate(found->dtype, std::move(found->shape), begin + found->offset);
}

}  // namespace levin
