#include "spool.h"

#include <fmt/format.h>

#include <exception>
#include <random>
#include <utility>

#include "flat_options.h"
#include "json_values.h"
#include "levin/core/error.h"

namespace levin::detail {
namespace {

constexpr int version = 1;
constexpr int64_t most_kept_bytes = int64_t{64} << 20;  // of files that cannot be written; what is beyond is dropped, with an error

// 16 hexadecimal digits.
std::string new_id() {
  std::random_device random;
  const uint64_t high = random(), low = random();
  return fmt::format("{:016x}", high << 32 | (low & 0xffffffff));
}

}  // namespace

Spool::Spool(const std::filesystem::path& folder, const std::string& service, Json settings, Seconds flush_interval)
    : file_(folder / "spool" / (service + ".jsonl"), LogFile::Mode::append, flush_interval) {
  if (file_.empty()) {
    run_ = {{"kind", "run"},      {"version", version}, {"service", service}, {"id", new_id()}, {"settings", std::move(settings)},
            {"time", wall_time()}};
    write(run_, /*flush=*/true);
    return;
  }
  const auto text = file_.read(0, 65536);
  run_ = Json::parse(text.substr(0, text.find('\n')), nullptr, /*allow_exceptions=*/false);
  if (!run_.is_object() || run_.value("kind", "") != "run" || run_.value("service", "") != service)
    throw DataError(fmt::format("{} is not a spool of {}: its first line describes no run", file_.path().string(), service),
                    "move the file away, or give the logger another save_dir", "loggers");
  if (file_.read(file_.size() - 1, file_.size()) != "\n") file_.write("\n");  // a process was killed while it wrote
}

void Spool::params(const std::string& yaml) {
  Json values = Json::object();
  for (const auto& [name, value] : flat_options(yaml)) values[name] = value.text;
  const auto line = json_line({{"kind", "params"}, {"values", std::move(values)}, {"yaml", yaml}});
  const std::lock_guard lock(mutex_);
  params_ += line;
}

void Spool::metrics(const Json& values, int64_t epoch, int64_t step) {
  write({{"kind", "metrics"}, {"step", step}, {"epoch", epoch}, {"time", wall_time()}, {"values", values}});
}

void Spool::media(const Json& record) { write(record); }

void Spool::media(Json record, const std::string& extension, std::function<void(File&)> write, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (kept_bytes_ + bytes > most_kept_bytes) write_files();
  kept_.push_back({std::move(record), extension, std::move(write), bytes});
  kept_bytes_ += bytes;
  write_files();
}

// A file is named by the place of its record, which no other record of the spool has.
void Spool::write_files() {
  while (!kept_.empty()) {
    const auto drop = [&] {
      kept_bytes_ -= kept_.front().bytes;
      kept_.pop_front();
    };
    const auto& next = kept_.front();
    const auto name = fmt::format("{:012}{}", file_.size(), next.extension);
    std::error_code unseen;  // creating the file gives the better error
    std::filesystem::create_directories(files(), unseen);
    try {
      replace_file(files() / name, next.write, /*sync=*/false, "loggers");
    } catch (const IoError&) {
      throw;
    } catch (...) {
      drop();
      throw;
    }
    auto record = next.record;
    drop();
    record["file"] = name;
    write_line(record);
  }
}

// Their first failure was reported.
void Spool::retry_files() {
  try {
    write_files();
  } catch (const std::exception&) {
  }
}

void Spool::start(int64_t step) { write({{"kind", "start"}, {"step", step}, {"time", wall_time()}}); }

void Spool::end(const std::string& status) { write({{"kind", "end"}, {"status", status}, {"time", wall_time()}}, /*flush=*/true); }

void Spool::flush() {
  const std::lock_guard lock(mutex_);
  retry_files();
  file_.flush();
}

std::filesystem::path Spool::files() const { return std::filesystem::path(file_.path()).replace_extension(".files"); }

int64_t Spool::size() const {
  const std::lock_guard lock(mutex_);
  return file_.size();
}

std::string Spool::lines(int64_t begin, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  while (true) {
    auto text = file_.read(begin, begin + bytes);
    const auto end = text.rfind('\n');
    if (end != std::string::npos) return text.substr(0, end + 1);
    if (static_cast<int64_t>(text.size()) < bytes) return {};
    bytes *= 2;
  }
}

void Spool::write(const Json& record, bool flush) {
  const std::lock_guard lock(mutex_);
  retry_files();
  write_line(record);
  if (flush) file_.flush();
}

void Spool::write_line(const Json& record) {
  file_.write(std::exchange(params_, {}) + json_line(record));  // in one call, which keeps both after an error
}

}  // namespace levin::detail
