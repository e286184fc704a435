#include "levin/data/data_loader_options.h"

#include "levin/core/error.h"

namespace levin {

DataLoaderOptions DataLoaderOptions::for_evaluation() const {
  auto options = *this;
  options.shuffle = options.drop_last = false;
  return options;
}

void DataLoaderOptions::validate() const {
  if (batch_size && global_batch_size)
    throw ConfigError(fmt::format("batch_size is {} and global_batch_size is {}", *batch_size, *global_batch_size),
                      "give one of them, and null for the other");
}

}  // namespace levin
