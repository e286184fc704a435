#include "spool.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <random>
#include <utility>

#include "json_values.h"
#include "levin/core/error.h"

namespace levin::detail {
namespace {

using Json = nlohmann::ordered_json;

constexpr int version = 1;

// 16 hexadecimal digits.
std::string new_id() {
  std::random_device random;
  const uint64_t high = random(), low = random();
  return fmt::format("{:016x}", high << 32 | (low & 0xffffffff));
}

// {"trainer.max_epochs": "6"}; a list is one text.
void flatten(const YAML::Node& node, const std::string& name, Json& values) {
  if (!node.IsMap()) {
    YAML::Emitter text;
    text << YAML::Flow << node;
    values[name] = node.IsScalar() ? node.Scalar() : text.c_str();
    return;
  }
  for (const auto& entry : node) flatten(entry.second, name.empty() ? entry.first.Scalar() : name + "." + entry.first.Scalar(), values);
}

}  // namespace

Spool::Spool(const std::filesystem::path& folder, const std::string& service, Json settings, Seconds flush_interval)
    : file_(folder / "spool" / (service + ".jsonl"), LogFile::Mode::append, flush_interval) {
  if (file_.empty()) {
    write({{"kind", "run"},
           {"version", version},
           {"service", service},
           {"id", new_id()},
           {"settings", std::move(settings)},
           {"time", wall_time()}});
    file_.flush();
    return;
  }
  const auto text = file_.read(0, 65536);
  const auto first = Json::parse(text.substr(0, text.find('\n')), nullptr, /*allow_exceptions=*/false);
  if (!first.is_object() || first.value("kind", "") != "run" || first.value("service", "") != service)
    throw DataError(fmt::format("{} is not a spool of {}: its first line describes no run", file_.path().string(), service),
                    "move the file away, or give the logger another save_dir", "loggers");
  if (file_.read(file_.size() - 1, file_.size()) != "\n") file_.write("\n");  // a process was killed while it wrote
}

void Spool::params(const std::string& yaml) {
  Json values = Json::object();
  flatten(YAML::Load(yaml), "", values);
  write({{"kind", "params"}, {"values", std::move(values)}});
}

void Spool::metrics(const Json& values, int64_t epoch, int64_t step) {
  write({{"kind", "metrics"}, {"step", step}, {"epoch", epoch}, {"time", wall_time()}, {"values", values}});
}

void Spool::start(int64_t step) { write({{"kind", "start"}, {"step", step}, {"time", wall_time()}}); }

void Spool::end() {
  write({{"kind", "end"}, {"time", wall_time()}});
  file_.flush();
}

void Spool::write(const Json& record) { file_.write(json_line(record)); }

}  // namespace levin::detail
