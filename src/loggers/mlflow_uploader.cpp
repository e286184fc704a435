#include "mlflow_uploader.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <utility>

#include "levin/core/error.h"
#include "mlflow_artifacts.h"

namespace levin::detail {
namespace {

using namespace std::chrono_literals;

constexpr auto upload_interval = 1s;
constexpr auto first_pause = 2s, longest_pause = 60s;                           // after failures
constexpr int most_artifact_failures = 3;                                       // each may take the timeout
constexpr size_t most_metrics = 1000, most_params = 100, longest_param = 6000;  // of MLflow's log-batch

// OpenSSL writes without MSG_NOSIGNAL.
void block_sigpipe() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

int64_t milliseconds_of(const nlohmann::ordered_json& record) { return static_cast<int64_t>(1000 * record.value("time", 0.0)); }

}  // namespace

MLFlowUploader::MLFlowUploader(Spool& spool, Options options)
    : spool_(spool), options_(std::move(options)), client_(options_.tracking_uri, options_.timeout) {}

MLFlowUploader::~MLFlowUploader() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  client_.cancel();
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void MLFlowUploader::set_log(const Log& log) {
  const std::lock_guard lock(mutex_);
  log_ = log;
}

void MLFlowUploader::notify() {
  {
    const std::lock_guard lock(mutex_);
    news_ = true;
    if (!thread_.joinable()) thread_ = std::thread([this] { serve(); });
  }
  changed_.notify_all();
}

bool MLFlowUploader::wait(Seconds limit, bool last) {
  const int64_t target = spool_.size();
  std::unique_lock lock(mutex_);
  if (confirmed_ >= target || !thread_.joinable()) return true;  // no thread: nothing to upload yet
  if ((impatient_ || failing_) && !last) return false;
  const auto attempts = attempts_;
  news_ = urgent_ = true;
  changed_.notify_all();
  const auto over = [&] { return confirmed_ >= target || (failing_ && attempts_ > attempts); };
  attempted_.wait_for(lock, std::chrono::duration<double>(limit.value), over);
  impatient_ = confirmed_ < target;
  return !impatient_;
}

void MLFlowUploader::serve() {
  block_sigpipe();
  auto next = Clock::now();
  auto pause = first_pause;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ends_ || news_; });
    changed_.wait_until(lock, next, [&] { return ends_ || urgent_; });
    if (ends_) return;
    news_ = urgent_ = false;
    lock.unlock();
    const bool done = try_upload();
    lock.lock();
    attempts_++;
    failing_ = !done;
    news_ = news_ || failing_;
    if (done) impatient_ = false;
    next = Clock::now() + (done ? upload_interval : pause);
    pause = done ? first_pause : std::min<std::chrono::seconds>(2 * pause, longest_pause);
    attempted_.notify_all();
  }
}

void MLFlowUploader::warn_once(bool& warned, const std::string& message) {
  if (std::exchange(warned, true)) return;
  const std::lock_guard lock(mutex_);
  log_.warning("[loggers] MLflow at {} {}", options_.tracking_uri, message);
}

void MLFlowUploader::note(const std::string& message) {
  const std::lock_guard lock(mutex_);
  log_.info("[loggers] MLflow at {} {}", options_.tracking_uri, message);
}

bool MLFlowUploader::is_cancelled() {
  const std::lock_guard lock(mutex_);
  return ends_;
}

bool MLFlowUploader::try_upload() {
  try {
    return upload_again_if_lost();
  } catch (const IoError&) {  // of the spool, which its writer reports
  } catch (const std::exception& error) {
    if (is_cancelled()) return false;
    warn_once(warned_of_failure_,
              fmt::format("takes no values now: {}; the training continues, and {} keeps them until the server or levin-sync has them",
                          error.what(), spool_.path().string()));
  }
  run_.reset();  // the next attempt asks what the server has of it
  return false;
}

// A server may lose the run during the training.
bool MLFlowUploader::upload_again_if_lost() {
  try {
    return upload();
  } catch (const MLFlowError& error) {
    if (!run_ || !error.is_unknown()) throw;
  }
  run_.reset();
  return upload();
}

bool MLFlowUploader::upload() {
  const SpoolLock lock(spool_.path());
  if (lock.busy()) return false;
  auto progress = unsaved_ ? *unsaved_ : SpoolProgress::load(spool_.path(), spool_.run().value("id", ""), spool_.size());
  while (true) {
    auto lines = spool_.lines(progress.bytes);
    if (lines.empty()) break;
    const auto begin = progress.bytes;
    open_run(progress);
    if (progress.bytes != begin) continue;
    send(parse(lines, begin), progress);
    confirm(progress, begin + static_cast<int64_t>(lines.size()));
  }
  const std::lock_guard confirming(mutex_);
  confirmed_ = progress.bytes;
  return true;
}

// A server that does not know the run gets the whole spool: another server, or one whose data are lost.
void MLFlowUploader::open_run(SpoolProgress& progress) {
  if (run_ && run_->id == progress.run_id) return;
  run_.reset();
  if (!progress.run_id.empty()) run_ = client_.get_run(progress.run_id);
  if (!run_) {
    const auto& run = spool_.run();
    run_ = client_.start_run(options_.experiment, options_.run_name, run.value("id", ""), milliseconds_of(run));
    if (run_->id != progress.run_id) {
      if (!progress.run_id.empty()) note(fmt::format("does not have run {}; run {} gets the whole spool", progress.run_id, run_->id));
      progress = {.bytes = 0, .spool_id = progress.spool_id, .run_id = run_->id};
    }
  }
  if (run_->active) return;
  const auto id = run_->id;
  run_.reset();
  throw MLFlowError(0, "", fmt::format("run {} is deleted there", id));
}

std::vector<MLFlowUploader::Record> MLFlowUploader::parse(const std::string& lines, int64_t begin) {
  std::vector<Record> records;
  for (size_t from = 0; from < lines.size();) {
    const size_t end = lines.find('\n', from) + 1;
    auto object = Json::parse(lines.begin() + static_cast<std::ptrdiff_t>(from), lines.begin() + static_cast<std::ptrdiff_t>(end), nullptr,
                              /*allow_exceptions=*/false);
    from = end;
    if (!object.is_object()) continue;  // a process was killed while it wrote the line
    if (kind_of(object) == "start") {
      const auto step = object.value("step", int64_t{0});
      std::erase_if(records, [&](const Record& other) { return is_superseded(other.object, step); });
    }
    records.push_back({std::move(object), begin + static_cast<int64_t>(end)});
  }
  return records;
}

// In the order of the spool: what is confirmed is a prefix of it.
void MLFlowUploader::send(const std::vector<Record>& records, SpoolProgress& progress) {
  Json metrics = Json::array();
  int64_t end = progress.bytes;
  const auto send_metrics = [&] {
    if (metrics.empty()) return;
    begin_sending();
    send_entries("metrics", metrics, most_metrics);
    metrics = Json::array();
    confirm(progress, end);
  };
  for (const auto& record : records) {
    const auto& object = record.object;
    const auto kind = kind_of(object);
    if (kind == "metrics") {
      const auto values = object.value("values", Json::object());
      if (metrics.size() + values.size() > most_metrics) send_metrics();
      for (const auto& [name, value] : values.items())
        metrics.push_back({{"key", mlflow_name(name)},
                           {"value", value},
                           {"timestamp", milliseconds_of(object)},
                           {"step", object.value("step", int64_t{0})}});
    } else if (kind == "params" || kind == "end" || is_media(kind)) {
      send_metrics();
      kind == "params" ? send_params(object) : kind == "end" ? send_end(object) : send_media(object);
      confirm(progress, record.end);
    }
    end = record.end;
  }
  send_metrics();
}

// A run that ended and continues is under way again.
void MLFlowUploader::begin_sending() {
  if (run_->status == "RUNNING") return;
  client_.set_status(*run_, "RUNNING", {});
  run_->status = "RUNNING";
}

// MLflow keeps the first value of a parameter, and refuses another.
void MLFlowUploader::send_params(const Json& record) {
  begin_sending();
  Json params = Json::array();
  const auto values = record.value("values", Json::object());
  for (const auto& [name, value] : values.items()) {
    const auto key = mlflow_name(name);
    if (value.is_string() && run_->params.insert(key).second)
      params.push_back({{"key", key}, {"value", first_bytes(value.get<std::string>(), longest_param)}});
  }
  send_entries("params", params, most_params);
  if (const auto yaml = record.value("yaml", ""); !yaml.empty()) put_artifact("config.yaml", yaml);
}

void MLFlowUploader::send_media(const Json& record) {
  begin_sending();
  const auto path = artifact_path(record);
  if (const auto bytes = artifact_of(record, spool_.files()))
    put_artifact(path, *bytes);
  else
    warn_once(warned_of_artifacts_, fmt::format("does not store {}: its file is missing from {}", path, spool_.files().string()));
}

// Where the server stores its artifacts may fail while it takes values.
void MLFlowUploader::put_artifact(const std::string& path, const std::string& bytes) {
  if (artifact_failures_ == most_artifact_failures) return;
  try {
    client_.put_artifact(*run_, path, bytes);
    artifact_failures_ = 0;
  } catch (const MLFlowError& error) {
    if (is_cancelled()) throw;
    if (!client_.get_run(run_->id)) throw MLFlowError(404, "RESOURCE_DOES_NOT_EXIST", error.what());
    artifact_failures_++;
    warn_once(warned_of_artifacts_, fmt::format("does not store {}: {}; {} has it", path, error.what(), spool_.path().string()));
  }
}

void MLFlowUploader::send_end(const Json& record) {
  const auto end = record.value("status", "finished");
  const auto status = end == "stopped" ? "KILLED" : end == "failed" ? "FAILED" : "FINISHED";
  client_.set_status(*run_, status, milliseconds_of(record));
  run_->status = status;
}

void MLFlowUploader::send_entries(const std::string& kind, const Json& entries, size_t most) {
  for (size_t begin = 0; begin < entries.size(); begin += most) {
    Json part = Json::array();
    for (size_t i = begin; i < std::min(begin + most, entries.size()); i++) part.push_back(entries[i]);
    send_valid(kind, part);
  }
}

// A server refuses a whole request for one invalid entry: the others are sent without it.
void MLFlowUploader::send_valid(const std::string& kind, const Json& entries) {
  try {
    return client_.log_batch(*run_, kind, entries);
  } catch (const MLFlowError& error) {
    if (!error.refuses_content()) throw;
    const auto known = client_.get_run(run_->id);
    if (!known) throw MLFlowError(404, "RESOURCE_DOES_NOT_EXIST", error.what());
    if (!known->active) throw;
    if (entries.size() == 1) {
      warn_once(warned_of_refusal_, fmt::format("refuses {} \"{}\": {}; only {} has it", kind, entries[0].value("key", ""), error.what(),
                                                spool_.path().string()));
      return;
    }
  }
  const auto half = entries.begin() + static_cast<std::ptrdiff_t>(entries.size() / 2);
  send_valid(kind, Json(Json::array_t(entries.begin(), half)));
  send_valid(kind, Json(Json::array_t(half, entries.end())));
}

void MLFlowUploader::confirm(SpoolProgress& progress, int64_t bytes) {
  progress.bytes = bytes;
  unsaved_ = progress;
  try {
    progress.save(spool_.path());
    unsaved_.reset();
  } catch (const IoError& error) {
    warn_once(warned_of_progress_, fmt::format("gets the values, but {} cannot be written: {}; another process would send them again",
                                               SpoolProgress::file(spool_.path()).string(), error.what()));
  }
  const std::lock_guard lock(mutex_);
  confirmed_ = bytes;
}

}  // namespace levin::detail
