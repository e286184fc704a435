#include "levin/loggers/csv_logger.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "levin/core/error.h"

namespace levin {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path) {
  throw IoError(fmt::format("cannot write {}: {}", path.string(), std::strerror(errno)), "give a --run_dir that can be written", "loggers");
}

// A name with a comma or a quote is quoted, as RFC 4180 has it.
std::string cell(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

}  // namespace

CSVLogger::CSVLogger(std::filesystem::path file) : path_(std::move(file)), file_(std::fopen(path_.c_str(), "a")) {
  if (!file_) refuse(path_);
  if (std::ftell(file_.get()) == 0 && std::fputs("step,epoch,name,value\n", file_.get()) < 0) refuse(path_);
  flush();
}

void CSVLogger::log_metrics(const NamedValues& values, int64_t epoch, int64_t step) {
  std::string lines;
  for (const auto& [name, value] : values) lines += fmt::format("{},{},{},{}\n", step, epoch, cell(name), value);
  if (std::fwrite(lines.data(), 1, lines.size(), file_.get()) != lines.size()) refuse(path_);
  if (std::chrono::steady_clock::now() - flushed_ > std::chrono::seconds(1)) flush();  // who watches the file waits a second at most
}

void CSVLogger::finalize() { flush(); }

void CSVLogger::flush() {
  if (std::fflush(file_.get()) != 0) refuse(path_);
  flushed_ = std::chrono::steady_clock::now();
}

}  // namespace levin
