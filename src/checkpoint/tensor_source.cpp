#include "levin/checkpoint/tensor_source.h"

#include <fmt/format.h>

#include "../core/safetensors_index.h"
#include "foreign_folder.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/checkpoint/safetensors.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "slab_runs.h"

namespace levin {

std::map<std::string, const TensorEntry*> TensorSource::with_prefix(const std::string& prefix) const {
  std::map<std::string, const TensorEntry*> found;
  for (const auto& tensor : tensors())
    if (tensor.name.starts_with(prefix)) found.emplace(tensor.name.substr(prefix.size()), &tensor);
  return found;
}

void TensorSource::read(const std::string& name, const Hyperslab& slab, void* memory) const {
  const auto* tensor = find(name);
  if (!tensor) throw DataError(fmt::format("{} has no tensor {}", path().string(), quote(name)), {}, "checkpoint");
  detail::check_slab(path(), *tensor, slab);
  const auto wanted = detail::simplified(slab, tensor->shape);
  if (wanted.flattened) {
    read(name, wanted.offset[0], wanted.offset[0] + wanted.extent[0], memory);
    return;
  }
  const uint64_t element = c10::elementSize(tensor->dtype);
  for (auto& runs : detail::runs_between(Hyperslab::range(0, tensor->numel()), wanted, tensor->shape))
    detail::RunCopier(std::move(runs), element, static_cast<std::byte*>(memory))
        .read_rest([&](uint64_t begin, uint64_t end, std::byte* to) {
          read(name, static_cast<int64_t>(begin / element), static_cast<int64_t>(end / element), to);
        });
}

std::unique_ptr<TensorSource> open_tensor_source(const std::filesystem::path& path, Communicator* communicator, bool read_fp8) {
  namespace fs = std::filesystem;
  std::string checkpoint;
  on_all_ranks(communicator, "checkpoint", [&] {
    if (communicator && communicator->rank() != 0) return;  // only rank 0 decides, so that all ranks open the same file
    std::error_code unseen;
    const fs::path file = follow_last(path);
    if (fs::is_symlink(path, unseen) && !fs::exists(path, unseen))
      throw DataError(fmt::format("{} links to {}, which is missing", path.string(), fs::read_symlink(path, unseen).string()),
                      "use another checkpoint", "checkpoint");
    if (fs::is_directory(file, unseen)) {
      if (const auto format = detail::foreign_folder(file))
        throw DataError(fmt::format("{} is {}", file.string(), format.kind), format.remedy, "checkpoint");
      checkpoint = file.string();
    }
    if (path.extension() == ".h5") checkpoint = path.has_parent_path() ? path.parent_path().string() : ".";
  });
  checkpoint = broadcast_text(communicator, checkpoint);
  if (!checkpoint.empty()) {
    if (communicator) return std::make_unique<CheckpointReader>(checkpoint, *communicator);
    return std::make_unique<CheckpointReader>(checkpoint);
  }
  std::error_code error;
  // Downloaded weights are often links into a cache. An index keeps its name, which stands beside those of its files.
  const auto real = detail::SafetensorsIndex::is_index(path) ? path : fs::canonical(path, error);
  const SafetensorsOptions options{.read_fp8 = read_fp8};
  if (communicator) return std::make_unique<SafetensorsReader>(error ? path : real, *communicator, options);
  return std::make_unique<SafetensorsReader>(error ? path : real, options);
}

}  // namespace levin
