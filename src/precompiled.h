// Precompiled for all sources of the library but those of precompiled_models.h: headers of others alone, so that it never changes.
// Sources include what they use as if this did not exist; -Db_pch=false builds without.
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>
