#pragma once
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace levin::detail {

std::string kind_of(const nlohmann::ordered_json& record);
/// Whether MLflow keeps a record of this kind as an artifact.
bool is_media(const std::string& kind);
/// By a training that starts after `start` steps. The step of metrics counts the steps before theirs; hooks give media that of the steps
/// taken, so that those of a checkpoint's own step are its past.
bool is_superseded(const nlohmann::ordered_json& record, int64_t start);
/// As levin-sync names it.
std::string artifact_path(const nlohmann::ordered_json& record);
/// The content of a text or a histogram, or of the file in `files`; null if that is missing.
std::optional<std::string> artifact_of(const nlohmann::ordered_json& record, const std::filesystem::path& files);

}  // namespace levin::detail
