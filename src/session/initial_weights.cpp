#include <algorithm>
#include <set>

#include "levin/checkpoint/tensor_source.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "levin/session/load_from.h"
#include "levin/session/session.h"
#include "tensor_match.h"

namespace levin {
namespace {

constexpr std::string_view in_state = "model/";  // before their names in a state

/// The file's tensors by the names that the model gives them.
std::map<std::string, const TensorEntry*> renamed(const InitialWeights& init) {
  std::map<std::string, const TensorEntry*> offered;
  std::set<std::string> used;
  const auto path = init.source->path().string();
  for (const auto& [name, entry] : init.source->with_prefix(init.source->weights_prefix())) {
    const std::pair<const std::string, std::string>* longest = nullptr;
    for (const auto& rule : init.rename)
      if (name.starts_with(rule.first) && (!longest || rule.first.size() > longest->first.size())) longest = &rule;
    if (longest) used.insert(longest->first);
    const auto now = longest ? longest->second + name.substr(longest->first.size()) : name;
    if (const auto [before, first] = offered.emplace(now, entry); !first)
      throw ConfigError(fmt::format("{} and {} of {} both become {}", before->second->name, entry->name, path, now), "change --init_rename",
                        "checkpoint");
  }
  for (const auto& [beginning, replacement] : init.rename)
    if (!used.contains(beginning))
      throw ConfigError(fmt::format("--init_rename {}: no weight of {} is renamed by it", quote(beginning), path),
                        "levin-ckpt inspect shows their names", "checkpoint");
  return offered;
}

}  // namespace

void Session::load_weights(const InitialWeights& init) {
  const auto excluded = [&](const std::string& name) {
    return std::any_of(init.exclude.begin(), init.exclude.end(), [&](const auto& pattern) { return matches(pattern, name); });
  };
  auto offered = renamed(init);
  std::erase_if(offered, [&](const auto& entry) { return excluded(entry.first); });
  detail::define_buffers(*strategy_, offered, "");
  auto needed = strategy_->state(StateUse::load, /*weights_only=*/true);
  for (auto& tensor : needed) tensor.name.erase(0, in_state.size());
  const auto kept = std::erase_if(needed, [&](const auto& tensor) { return excluded(tensor.name); });
  using detail::TensorMatch;
  const TensorMatch match(std::move(needed), offered,
                          init.convert_fp8 ? TensorMatch::Conversion::floating_and_fp8 : TensorMatch::Conversion::floating);
  if (const auto differences = match.differences(); !differences.empty())
    throw DataError(fmt::format("{} does not fit the model; {}", init.source->path().string(), differences),
                    "rename beginnings of names with --init_rename, and leave out what shall not be loaded with --init_exclude" +
                        std::string(match.has_fp8() ? "; --init_convert_fp8 true converts fp8, without its scales" : ""),
                    "checkpoint");
  match.load(*init.source);
  strategy_->loaded({});
  runtime_->log().info("[session] {} tensors of the model are those of {}, {} are new", match.fitting(), init.source->path().string(),
                       kept);
}

}  // namespace levin
