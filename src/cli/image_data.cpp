#include "levin/cli/image_data.h"

#include <sstream>

#include "data_parts.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/data/image_folder.h"
#include "levin/data/transform_dataset.h"
#include "levin/trainer/trainer.h"

namespace levin::cli {
namespace {

void check_sizes(const char* option, const std::vector<int64_t>& sizes) {
  if (sizes.size() > 2) throw ConfigError(fmt::format("data.{} has {} numbers", option, sizes.size()), "give one, or height and width");
}

std::optional<ImageSize> both_sides(const std::vector<int64_t>& sizes) {
  return sizes.empty() ? std::nullopt : std::optional(ImageSize{sizes.front(), sizes.back()});
}

// The classes of the training, listed by rank 0. Those of a part of the data alone could be numbered otherwise.
std::vector<std::string> training_classes(const std::filesystem::path& folder, Communicator& communicator) {
  if (folder.empty())
    throw ConfigError("the classes of the images are unknown: data.train names no folder",
                      "name the training data, or list the classes, as --data.classes '[A, B]'");
  const auto listed = on_all_ranks(communicator, "data", [&] {
    std::string lines;
    if (communicator.rank() == 0)
      for (const auto& name : image_folder_classes(folder)) lines += name + "\n";
    return lines;
  });
  std::istringstream lines(broadcast_text(communicator, listed));
  std::vector<std::string> classes;
  for (std::string name; std::getline(lines, name);) classes.push_back(std::move(name));
  return classes;
}

bool lacks_folders(const std::filesystem::path& folder, Communicator& communicator) {
  const bool lacks = on_all_ranks(communicator, "data", [&] { return communicator.rank() == 0 && image_folder_classes(folder).empty(); });
  return broadcast_value(communicator, lacks);
}

}  // namespace

void ImageFolderDataConfig::validate() const {
  check_sizes("resize", resize);
  check_sizes("crop", crop);
  if (channels == 2) throw ConfigError("data.channels is 2", "give 3 (RGB) or 1 (gray)");
  if (batch.empty()) throw ConfigError("data.batch is empty", "name the tensors of a batch, as {image: image, label: label}");
  for (const auto& [name, source] : batch)
    if (source != "image" && source != "label")
      throw ConfigError(fmt::format("data.batch.{} is {}", sanitized(name), quote(source)), "give image or label");
  options.check_names(names_of(batch));
  std::string bytes, numbers;  // of the tensors of images: ImageFolder makes one kind
  for (const auto& [name, source] : batch) {
    if (source != "image") continue;
    const auto dtype = options.dtype.find(name);
    (dtype != options.dtype.end() && dtype->second == FieldDtype::uint8 ? bytes : numbers) = name;
  }
  if (!bytes.empty() && !numbers.empty())
    throw ConfigError(fmt::format("data.dtype is uint8 for {}, and not for {}, which has the same image", quote(bytes), quote(numbers)),
                      "give uint8 to both, or to none");
}

std::shared_ptr<const Dataset> ImageFolderData::open(Part part) const {
  const auto& folder = of_part(config_.folders, part);
  if (folder.empty()) return nullptr;
  ImageFolderOptions options{.channels = config_.channels, .crop = both_sides(config_.crop), .classes = config_.classes};
  if (config_.resize.size() == 1)
    options.resize_shorter = config_.resize.front();
  else
    options.resize = both_sides(config_.resize);
  for (const auto& [name, source] : config_.batch)
    if (const auto dtype = config_.options.dtype.find(name); source == "image" && dtype != config_.options.dtype.end())
      options.as_float = dtype->second != FieldDtype::uint8;
  auto& communicator = trainer().session().communicator();
  options.without_classes = part == Part::predict && lacks_folders(folder, communicator);
  if (part != Part::train && !options.without_classes && options.classes.empty())
    options.classes = training_classes(config_.folders.train, communicator);
  auto images = std::make_shared<ImageFolder>(folder, options, &communicator);
  const bool as_it_is = config_.batch == std::map<std::string, std::string>{{"image", "image"}, {"label", "label"}};
  if (as_it_is) return images;
  return std::make_shared<TransformDataset>(std::move(images), [batch = config_.batch, options](const Batch& source, Batch& into) {
    for (const auto& [name, tensor] : batch)
      if (tensor == "image" || !options.without_classes) into.set(name, source[tensor]);
    into.set_weight(source.weight());
  });
}

}  // namespace levin::cli
