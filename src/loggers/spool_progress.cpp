#include "spool_progress.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
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

SpoolProgress SpoolProgress::load(const std::filesystem::path& spool) {
  std::ifstream in(beside(spool, ".synced.json"));
  const auto state = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  SpoolProgress progress;
  if (!state.is_object()) return progress;
  if (const auto bytes = state.find("bytes"); bytes != state.end() && bytes->is_number_integer())
    progress.bytes = std::max<int64_t>(0, bytes->get<int64_t>());
  if (const auto remote = state.find("remote"); remote != state.end() && remote->is_object())
    if (const auto id = remote->find("run_id"); id != remote->end() && id->is_string()) progress.run_id = id->get<std::string>();
  return progress;
}

void SpoolProgress::save(const std::filesystem::path& spool) const {
  const nlohmann::ordered_json state = {{"bytes", bytes}, {"remote", {{"run_id", run_id}}}};
  replace_file(beside(spool, ".synced.json"), state.dump() + "\n", /*sync=*/false);
}

}  // namespace levin::detail
