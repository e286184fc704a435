#include "levin/data/hdf5_array.h"

#include "hdf5_lookup.h"
#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin {

Hdf5Array::Hdf5Array(const std::filesystem::path& path, const std::string& name)
    : FileArray(path.string(), path.string() + ": " + quote(name)) {
  const auto fail = [this](const std::string& why, const std::string& remedy) { refuse(why, remedy); };
  const auto opened = detail::open_hdf5(file());
  const detail::Hdf5Section section;
  if (!opened.good())
    throw DataError(fmt::format("{} is not an HDF5 file, or is corrupt", path.string()),
                    "name an HDF5 file, or copy it again; h5dump -H shows what is in a file");
  const auto set = detail::open_data_set(opened, name, fail);
  auto stored = detail::check_array(set, file().size(), fail);
  if (stored.is_text) refuse("is one string, not rows", "name a data set with a row for each sample");
  if (stored.shape.empty()) refuse("is a scalar, so it has no rows", "name a data set with a row for each sample");
  locate(stored.dtype, std::move(stored.shape), stored.offset);
}

}  // namespace levin
