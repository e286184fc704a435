#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "arguments.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/checkpoint/safetensors.h"
#include "levin/core/text.h"

namespace levin::ckpt {
namespace {

using Json = nlohmann::ordered_json;

std::string utc(double seconds_since_1970) {
  const auto seconds = static_cast<std::time_t>(seconds_since_1970);
  std::tm parts{};
  char text[32] = "";
  if (gmtime_r(&seconds, &parts)) std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

// Where tensors are stored in parts, of several files or as boxes.
Json parts_of(const Manifest& manifest) {
  auto parts = Json::array();
  for (const auto& set : manifest.datasets) {
    if (!set.part) continue;
    const auto& [offset, extent, flattened] = set.part->slab;
    Json part{{"name", set.name}, {"file", manifest.files[set.file].name}};
    if (flattened)
      part["elements"] = {offset[0], offset[0] + extent[0]};
    else
      part.update({{"offset", offset}, {"extent", extent}});
    parts.push_back(std::move(part));
  }
  return parts;
}

// All that is known, which is then shown in one of two ways.
Json contents_of(const TensorSource& source) {
  Json about{{"path", source.path().string()}};
  const auto* checkpoint = dynamic_cast<const CheckpointReader*>(&source);
  if (checkpoint) {
    const auto& manifest = checkpoint->manifest();
    about.update({{"manifest_version", manifest.version},
                  {"step", manifest.step},
                  {"epoch", manifest.epoch},
                  {"saved_at", utc(manifest.saved_at)},
                  {"fields", manifest.fields}});
  } else {
    about["fields"] = dynamic_cast<const SafetensorsReader&>(source).metadata();
  }
  int64_t elements = 0, bytes = 0;
  about["tensors"] = Json::array();
  about["texts"] = Json::array();
  for (const auto& tensor : source.tensors()) {
    elements += tensor.numel(), bytes += tensor.bytes();
    about["tensors"].push_back({{"name", tensor.name},
                                {"dtype", c10::getDtypeNames(tensor.dtype).first},
                                {"shape", tensor.shape},
                                {"bytes", tensor.bytes()},
                                {"form", tensor.form()}});
  }
  if (checkpoint)
    for (const auto& [name, text] : checkpoint->texts()) about["texts"].push_back({{"name", name}, {"bytes", text.size()}});
  if (checkpoint) about["parts"] = parts_of(checkpoint->manifest());
  about["totals"] = {{"tensors", source.tensors().size()}, {"elements", elements}, {"bytes", bytes}, {"texts", about["texts"].size()}};
  if (checkpoint) {
    about["totals"]["file_bytes"] = checkpoint->manifest().file_bytes();
    about["totals"]["files"] = checkpoint->manifest().files.size();
  }
  return about;
}

// Names by groups; a group is printed when it begins.
void show_tree(const Json& about) {
  std::vector<std::pair<std::string, std::string>> leaves;
  std::map<std::string, size_t> parts;
  if (about.contains("parts"))
    for (const auto& part : about["parts"]) parts[part["name"]]++;
  for (const auto& tensor : about["tensors"]) {
    const auto count = parts.find(tensor["name"]);
    leaves.emplace_back(tensor["name"], fmt::format("{}, {}{}", tensor["form"].get<std::string>(), size_text(tensor["bytes"]),
                                                    count == parts.end() ? "" : fmt::format(", {} parts", count->second)));
  }
  for (const auto& text : about["texts"]) leaves.emplace_back(text["name"], fmt::format("text, {}", size_text(text["bytes"])));
  std::sort(leaves.begin(), leaves.end());
  Words open;
  for (const auto& [name, description] : leaves) {
    Words groups;
    size_t begin = 0;
    for (size_t slash; (slash = name.find('/', begin)) != std::string::npos; begin = slash + 1)
      groups.push_back(name.substr(begin, slash - begin));
    const auto same = static_cast<size_t>(std::mismatch(open.begin(), open.end(), groups.begin(), groups.end()).first - open.begin());
    for (size_t i = same; i < groups.size(); i++) std::cout << std::string(2 * i, ' ') << groups[i] << "/\n";
    std::cout << fmt::format("{}{:<{}}  {}\n", std::string(2 * groups.size(), ' '), name.substr(begin),
                             44 - std::min<size_t>(groups.size(), 8) * 2, description);
    open = std::move(groups);
  }
}

void show(const Json& about) {
  std::cout << about["path"].get<std::string>() << "\n";
  if (about.contains("step"))
    std::cout << fmt::format("step {}, epoch {}, saved {}, manifest version {}\n", about["step"].get<int64_t>(),
                             about["epoch"].get<int64_t>(), about["saved_at"].get<std::string>(), about["manifest_version"].get<int64_t>());
  for (const auto& [name, value] : about["fields"].items())
    std::cout << sanitized(name) << ": " << sanitized(value.get<std::string>()) << "\n";
  show_tree(about);
  const auto& totals = about["totals"];
  std::cout << fmt::format("{} tensors with {} elements, {}; {} texts", totals["tensors"].get<size_t>(), totals["elements"].get<int64_t>(),
                           size_text(totals["bytes"]), totals["texts"].get<size_t>());
  if (totals.contains("files")) {
    const auto files = totals["files"].get<size_t>();
    std::cout << (files == 1 ? "; the file has " : fmt::format("; the {} files have ", files)) << size_text(totals["file_bytes"]);
  }
  std::cout << "\n";
}

}  // namespace

int inspect(const Words& words) {
  po::options_description options;
  options.add_options()("json", po::bool_switch(), "as JSON, sizes in bytes");
  const auto arguments = read_arguments(words, "inspect CHECKPOINT", "what is in a checkpoint or a safetensors file", options);
  if (!arguments) return 0;
  Json about = contents_of(*open_tensor_source(arguments->words[0]));
  if (!arguments->options["json"].as<bool>()) {
    show(about);
    return 0;
  }
  for (auto& tensor : about["tensors"]) tensor.erase("form");
  std::cout << about.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  return 0;
}

}  // namespace levin::ckpt
