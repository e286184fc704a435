#include "spool_progress.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>

#include "../core/file.h"

namespace levin::detail {
namespace {

std::filesystem::path beside(std::filesystem::path spool, const char* extension) { return spool.replace_extension(extension); }

}  // namespace

SpoolLock::SpoolLock(const std::filesystem::path& spool) {
  file_ = open(beside(spool, ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  busy_ = file_ >= 0 && flock(file_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

SpoolLock::~SpoolLock() {
  if (file_ >= 0) close(file_);
}

std::filesystem::path SpoolProgress::file(const std::filesystem::path& spool) { return beside(spool, ".synced.json"); }

SpoolProgress SpoolProgress::load(const std::filesystem::path& spool, const std::string& id, int64_t size) {
  SpoolProgress beginning{.bytes = 0, .spool_id = id, .run_id = {}};
  std::ifstream in(file(spool));
  std::string line;
  std::getline(in, line);  // the parser would throw where the file cannot be read
  const auto state = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!state.is_object()) return beginning;
  if (const auto other = state.find("spool"); other != state.end() && *other != id) return beginning;
  auto progress = beginning;
  if (const auto bytes = state.find("bytes"); bytes != state.end() && bytes->is_number_integer()) progress.bytes = bytes->get<int64_t>();
  if (progress.bytes < 0 || progress.bytes > size) return beginning;
  if (const auto remote = state.find("remote"); remote != state.end() && remote->is_object())
    if (const auto run = remote->find("run_id"); run != remote->end() && run->is_string()) progress.run_id = run->get<std::string>();
  return progress;
}

void SpoolProgress::save(const std::filesystem::path& spool) const {
  const nlohmann::ordered_json state = {{"bytes", bytes}, {"spool", spool_id}, {"remote", {{"run_id", run_id}}}};
  replace_file(file(spool), state.dump() + "\n", /*sync=*/false);
}

}  // namespace levin::detail
