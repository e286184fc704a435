#include "levin/callbacks/divergence_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/trainer/trainer.h"

namespace levin {

DivergenceCheck::DivergenceCheck(const DivergenceCheckConfig& config) : config_(config) { check_config(config_); }

void DivergenceCheck::on_train_start() { last_step_ = trainer().global_step(); }

void DivergenceCheck::on_train_batch_end(const Tensor&, const Batch&, int64_t) {
  const int64_t step = trainer().global_step();
  if (std::exchange(last_step_, step) != step && step % config_.every_n_steps == 0) check();
}

std::vector<int> DivergenceCheck::outliers(const std::vector<uint64_t>& by_rank) {
  uint64_t usual = 0;
  std::ptrdiff_t most = 0;
  for (const uint64_t value : by_rank)
    if (const auto count = std::count(by_rank.begin(), by_rank.end(), value); count > most) most = count, usual = value;
  std::vector<int> ranks;
  for (size_t rank = 0; rank < by_rank.size(); rank++)
    if (by_rank[rank] != usual) ranks.push_back(static_cast<int>(rank));
  return ranks;
}

void DivergenceCheck::check() {
  auto& session = trainer().session();
  std::vector<std::string> names;
  std::vector<int64_t> hashes;
  session.read_parameters([&](const std::string& name, const Tensor& parameter) {
    const Tensor host = parameter.cpu().contiguous();
    names.push_back(name);
    hashes.push_back(static_cast<int64_t>(XXH3_64bits(host.const_data_ptr(), host.nbytes())));
  });
  const auto all = all_gather_values(session.communicator(), hashes);
  for (size_t i = 0; i < names.size(); i++) {
    std::vector<uint64_t> by_rank;
    for (size_t rank = 0; rank < all.size() / names.size(); rank++) by_rank.push_back(static_cast<uint64_t>(all[rank * names.size() + i]));
    if (const auto ranks = outliers(by_rank); !ranks.empty())
      throw Error(
          ExitCode::internal, "callbacks",
          fmt::format("replicas differ after step {}: {} on rank{} {} is not that of the other ranks", trainer().global_step(), names[i],
                      ranks.size() == 1 ? "" : "s", fmt::join(ranks, ", ")),
          "resume from a checkpoint; if it happens again, leave out the host, or look for code that writes parameters on some ranks");
  }
}

}  // namespace levin
