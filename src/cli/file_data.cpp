#include "levin/cli/file_data.h"

#include <algorithm>

#include "data_parts.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "levin/data/slice_dataset.h"
#include "levin/data/transform_dataset.h"

namespace levin::cli {
namespace {

at::ScalarType scalar_type(FieldDtype dtype) {
  switch (dtype) {
    case FieldDtype::float32: return at::kFloat;
    case FieldDtype::float64: return at::kDouble;
    case FieldDtype::int32: return at::kInt;
    case FieldDtype::int64: return at::kLong;
    case FieldDtype::uint8: return at::kByte;
    default: return at::kBool;
  }
}

/// What happens to a tensor on its way into the batch.
struct FieldConversion {
  std::optional<at::ScalarType> dtype = {};
  std::optional<std::vector<int64_t>> shape = {};
  double scale = 1, shift = 0;

  void apply(const std::string& name, const Tensor& source, Batch& into) const {
    Tensor tensor = source;
    if (shape) {
      std::vector<int64_t> sizes = *shape;
      sizes.insert(sizes.begin(), source.size(0));
      int64_t values = source.size(0);
      for (const int64_t size : *shape) values *= size;
      if (values != source.numel())
        throw DataError(fmt::format("samples of {} have the shape [{}], and data.shape has [{}]", quote(name),
                                    fmt::join(source.sizes().slice(1), ", "), fmt::join(*shape, ", ")),
                        "give a shape of as many values");
      tensor = source.view(sizes);
    }
    if (!dtype || *dtype == source.scalar_type()) {
      if (scale == 1 && shift == 0) return into.set(name, tensor);
    }
    const Tensor out = reuse_tensor(into, name, tensor.sizes(), dtype.value_or(at::kFloat)).copy_(tensor);
    if (scale != 1) out.mul_(scale);
    if (shift != 0) out.add_(shift);
    if (c10::isIntegralType(out.scalar_type(), /*includeBool=*/true) && !out.to(tensor.scalar_type()).equal(tensor))
      throw DataError(fmt::format("{} has values that {} cannot hold", quote(name), c10::toString(out.scalar_type())),
                      "give it another data.dtype");
  }
};

}  // namespace

void FileDataOptions::check_names(const std::vector<std::string>& names) const {
  const auto check = [&](const auto& map, const char* option) {
    for (const auto& [name, value] : map) check_name(option, name, names);
  };
  check(dtype, "dtype");
  check(shape, "shape");
  check(scale, "scale");
  check(shift, "shift");
  if (augmentation)
    for (const auto& field : augmentation->fields) check_name("augmentation.fields", field, names);
  for (const auto* map : {&scale, &shift})
    for (const auto& [name, value] : *map)
      if (const auto found = dtype.find(name);
          found != dtype.end() && found->second != FieldDtype::float32 && found->second != FieldDtype::float64)
        throw ConfigError(fmt::format("data.scale or data.shift has {}, whose data.dtype is an integer's", quote(name)),
                          "give it float32 or float64, or do not scale it");
}

void FileData::setup(Stage stage) {
  if (stage == Stage::fit || stage == Stage::validate) open_train_and_val(stage == Stage::fit);
  if (stage == Stage::test && !test_) test_ = converted(open(Part::test));
  if (stage == Stage::predict && !predict_) {
    predict_ = converted(open(Part::predict));
    if (!predict_) predict_ = test_ ? test_ : converted(open(Part::test));
  }
}

void FileData::open_train_and_val(bool train) {
  if (!val_) val_ = converted(open(Part::val));
  if (train ? train_ != nullptr : val_ != nullptr || options_.val_samples == 0) return;
  auto all = converted(open(Part::train));
  if (!all) throw ConfigError("data.train names no file", "name the training data, as --data.train FILE");
  if (val_ && options_.val_samples > 0)
    throw ConfigError(fmt::format("data.val is given, and data.val_samples is {}", options_.val_samples), "give one of them");
  const int64_t kept = options_.val_samples, samples = all->size();
  if (kept >= samples)
    throw ConfigError(fmt::format("data.val_samples is {}, of {} training samples", kept, samples), "leave some to train on");
  if (kept > 0) val_ = std::make_shared<SliceDataset>(all, samples - kept, samples);
  train_ = augmented(kept > 0 ? std::make_shared<SliceDataset>(all, 0, samples - kept) : std::move(all));
}

std::shared_ptr<const Dataset> FileData::augmented(std::shared_ptr<const Dataset> data) const {
  if (!options_.augmentation) return data;
  const ImageAugmentation augmentation(*options_.augmentation);
  Batch sample;
  if (data->size() > 0) data->get(std::vector<int64_t>{0}, sample);
  try {
    if (data->size() > 0) augmentation.check(sample);
  } catch (const UsageError& error) {
    std::string_view message = error.what();
    message.remove_prefix(std::min(message.size(), error.tag().size() + 3));
    throw ConfigError(fmt::format("data.augmentation: {}", message), "data.shape, data.dtype, data.scale and data.shift come before it");
  }
  return std::make_shared<TransformDataset>(std::move(data), augmentation);
}

std::shared_ptr<const Dataset> FileData::converted(std::shared_ptr<const Dataset> data) const {
  if (!data) return nullptr;
  std::map<std::string, FieldConversion, std::less<>> conversions;
  for (const auto& [name, dtype] : options_.dtype) conversions[name].dtype = scalar_type(dtype);
  for (const auto& [name, shape] : options_.shape) conversions[name].shape = shape;
  for (const auto& [name, scale] : options_.scale) conversions[name].scale = scale;
  for (const auto& [name, shift] : options_.shift) conversions[name].shift = shift;
  if (!conversions.empty())
    data = std::make_shared<TransformDataset>(std::move(data), [conversions](const Batch& source, Batch& into) {
      for (const auto& [name, tensor] : source.tensors()) {
        const auto found = conversions.find(name);
        found == conversions.end() ? into.set(name, tensor) : found->second.apply(name, tensor, into);
      }
      into.set_weight(source.weight());
    });
  Batch sample;  // what does not fit is an error now, not in the middle of an epoch
  if (data->size() > 0) data->get(std::vector<int64_t>{0}, sample);
  return data;
}

}  // namespace levin::cli
