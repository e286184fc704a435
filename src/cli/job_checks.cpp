#include "job_checks.h"

#include <ATen/Parallel.h>
#include <c10/core/ScalarType.h>

#include <cstdlib>
#include <functional>
#include <numeric>
#include <vector>

#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/retention.h"
#include "levin/cluster/core_binding.h"
#include "levin/cluster/preflight.h"
#include "levin/comm/host_values.h"
#include "levin/trainer/trainer.h"

namespace levin::cli {

void check_placement(Trainer& trainer, MpiRuntime& mpi) {
  const auto& session = trainer.session();
  const bool on_cores = session.device().is_cpu();
  const RankResources mine{at::get_num_threads(), on_cores ? 0 : session.accelerator().device_count()};
  const auto warnings = placement_warnings(trainer.session().communicator().cpu(), session.topology(), mine);
  if (mpi.rank() == 0)
    for (const auto& warning : warnings) mpi.log().warning("{}", warning);
}

void check_run_folder(Trainer& trainer, MpiRuntime& mpi, const std::filesystem::path& folder, const std::filesystem::path& checkpoint_dir,
                      const BatchJob& job) {
  const auto& topology = trainer.session().topology();
  check_shared_directory(mpi, topology, folder, "the run directory", "give a --run_dir that all hosts share and can write");
  if (!checkpoint_dir.empty())
    check_shared_directory(mpi, topology, checkpoint_dir, "the checkpoint directory",
                           "give a --checkpoint_dir that all hosts share and can write");
  if (mpi.rank() != 0) return;
  if (const auto warning = home_warning(folder, job, [](const char* name) { return std::getenv(name); }); !warning.empty())
    mpi.log().warning("{}", warning);
}

void check_checkpoint_folders(Trainer& trainer, MpiRuntime& mpi) {
  std::vector<PlannedCheckpoints> planned;
  for (const auto& callback : trainer.callbacks()) {
    const auto* saves = dynamic_cast<const ModelCheckpoint*>(callback.get());
    if (!saves || saves->dirpath().empty()) continue;
    const auto& config = saves->config();
    auto& plan = planned.emplace_back(PlannedCheckpoints{.folder = saves->dirpath()});
    plan.keep = most_kept({.save_top_k = config.save_top_k}, config.monitor.has_value());
    for (const auto& tensor : trainer.session().strategy().state(StateUse::save, config.save_weights_only))
      plan.bytes += std::accumulate(tensor.shape.begin(), tensor.shape.end(), static_cast<int64_t>(c10::elementSize(tensor.dtype)),
                                    std::multiplies<>());
    if (config.dirpath.empty()) continue;  // the run directory and --checkpoint_dir have been checked
    check_shared_directory(mpi, trainer.session().topology(), plan.folder, "the directory of checkpoints",
                           "give a model_checkpoint.dirpath that all hosts share and can write");
  }
  on_all_ranks(trainer.session().communicator().cpu(), "cli", [&] {
    for (auto& plan : planned)
      if (mpi.rank() == 0) plan.found = static_cast<int64_t>(list_checkpoints(plan.folder).checkpoints.size());
  });
  const auto warning = check_checkpoint_space(trainer.session().communicator().cpu(), planned);
  if (!warning.empty() && mpi.rank() == 0) mpi.log().warning("{}", warning);
}

}  // namespace levin::cli
