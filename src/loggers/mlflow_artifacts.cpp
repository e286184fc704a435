#include "mlflow_artifacts.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "mlflow_client.h"

namespace levin::detail {

std::string kind_of(const nlohmann::ordered_json& record) { return record.value("kind", ""); }

bool is_media(const std::string& kind) { return kind == "text" || kind == "histogram" || kind == "image" || kind == "file"; }

bool is_superseded(const nlohmann::ordered_json& record, int64_t start) {
  const auto kind = kind_of(record);
  const auto step = record.value("step", int64_t{0});
  return kind == "metrics" ? step >= start : is_media(kind) && (step > start || start == 0);
}

std::string artifact_path(const nlohmann::ordered_json& record) {
  const auto kind = kind_of(record);
  auto name = mlflow_name(record.value("name", ""));
  const auto step = record.value("step", int64_t{0});
  if (kind == "text") return fmt::format("text/{}/{:09}.md", name, step);
  if (kind == "histogram") return fmt::format("histograms/{}/{:09}.json", name, step);
  if (kind == "image") return fmt::format("images/{}/{:09}.png", name, step);
  return name;
}

std::optional<std::string> artifact_of(const nlohmann::ordered_json& record, const std::filesystem::path& files) {
  if (kind_of(record) == "text") return record.value("text", "");
  if (kind_of(record) == "histogram") return record.value("buckets", nlohmann::ordered_json::array()).dump();
  std::ifstream file(files / std::filesystem::path(record.value("file", "")).filename(), std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace levin::detail
