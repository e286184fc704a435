#include "levin/loggers/spool_logger.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>

#include "../core/file.h"
#include "histogram.h"
#include "json_values.h"
#include "logger_fields.h"
#include "png.h"
#include "spool.h"

namespace levin {
namespace {

constexpr Seconds spool_flush_interval{5};

std::string run_name(const std::filesystem::path& folder) {
  const auto name = std::filesystem::absolute(folder).lexically_normal();
  return (name.has_filename() ? name : name.parent_path()).filename().string();
}

detail::Spool::Json media_record(const char* kind, const std::string& name, int64_t step, double time) {
  return {{"kind", kind}, {"name", name}, {"step", step}, {"time", time}};
}

void copy_content(const detail::File& from, detail::File& to) {
  constexpr uint64_t piece_bytes = uint64_t{1} << 20;
  std::string piece;
  const auto bytes = from.size();
  for (uint64_t begin = 0; begin < bytes; begin += piece.size()) {
    piece.resize(std::min(piece_bytes, bytes - begin));
    from.read_at(piece.data(), piece.size(), begin);
    to.write_at(piece.data(), piece.size(), begin);
  }
}

const char* name_of(RunEnd end) { return end == RunEnd::finished ? "finished" : end == RunEnd::stopped ? "stopped" : "failed"; }

}  // namespace

SpoolLogger::SpoolLogger(const std::string& service, const std::filesystem::path& folder, const std::string& name,
                         const std::string& prefix, const Settings& settings, const std::vector<std::string>& tags)
    : prefix_(detail::name_prefix(prefix)) {
  nlohmann::ordered_json object = {{"name", name.empty() ? run_name(folder) : name}};
  for (const auto& [key, value] : settings) object[key] = value;
  object["tags"] = tags;
  spool_ = std::make_unique<detail::Spool>(folder, service, std::move(object), spool_flush_interval);
}

SpoolLogger::~SpoolLogger() {
  try {
    if (open_) spool_->end(name_of(end_));
  } catch (const std::exception&) {  // a spool that cannot be written was reported
  }
}

// The spool keeps a record that it cannot write, which needs an end, too.
template <class Write>
void SpoolLogger::spool_by(const Write& write) {
  open_ = true;
  write();
  spooled();
}

void SpoolLogger::log_metrics(const NamedValues& values, int64_t epoch, int64_t step) {
  spool_by([&] { spool_->metrics(detail::json_values(values, prefix_), epoch, step); });
}

void SpoolLogger::write_text(const Entry& entry, const std::string& text) {
  auto record = media_record("text", prefix_ + entry.name, entry.step, entry.time);
  record["text"] = text;
  spool_by([&] { spool_->media(record); });
}

void SpoolLogger::write_histogram(const Entry& entry, const std::vector<detail::HistogramBucket>& buckets) {
  if (buckets.empty()) return;  // no service shows that
  auto record = media_record("histogram", prefix_ + entry.name, entry.step, entry.time);
  for (const auto& [left, right, count] : buckets) record["buckets"].push_back(detail::Spool::Json::array({left, right, count}));
  spool_by([&] { spool_->media(record); });
}

void SpoolLogger::write_image(const Entry& entry, const detail::PngImage& image) {
  const auto record = media_record("image", prefix_ + entry.name, entry.step, entry.time);
  const auto write = [bytes = image.bytes](detail::File& file) { file.write_at(bytes.data(), bytes.size(), 0); };
  spool_by([&] { spool_->media(record, ".png", write, static_cast<int64_t>(image.bytes.size())); });
}

void SpoolLogger::add_file(const std::string& name, const std::filesystem::path& file, int64_t step) {
  const auto source = std::make_shared<detail::File>(detail::File::open_to_read(std::filesystem::weakly_canonical(file), "loggers"));
  const auto record = media_record("file", name, step, detail::wall_time());
  const auto write = [this, record, extension = file.extension().string(), source] {
    spool_by([&] {
      spool_->media(
          record, extension, [source](detail::File& copy) { copy_content(*source, copy); }, 0);
    });
  };
  post(write, 0);
}

void SpoolLogger::log_hyperparams(const std::string& yaml) { spool_->params(yaml); }

void SpoolLogger::begin_training(int64_t step) {
  spool_by([&] { spool_->start(step); });
}

StateDict SpoolLogger::state_dict() {
  spool_->flush();
  return {};
}

void SpoolLogger::finalize() {
  if (!open_ && end_ == RunEnd::failed) return;
  open_ = false;
  spool_->end(name_of(end_));
  spooled();
}

}  // namespace levin
