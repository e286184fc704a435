#pragma once
// Checks before step 0 that need the ranks. Collective; an error is the same on all ranks, and rank 0 prints the warnings.
#include <filesystem>

namespace levin {
struct BatchJob;
class MpiRuntime;
class Trainer;
}  // namespace levin

namespace levin::cli {

/// Warns of ranks that share cores or devices by mistake.
void check_placement(Trainer& trainer, MpiRuntime& mpi);
/// IoError unless the run directory and, where not empty, the checkpoint directory are writable and the same on all hosts. Warns of a job
/// that writes below $HOME.
void check_run_folder(Trainer& trainer, MpiRuntime& mpi, const std::filesystem::path& folder, const std::filesystem::path& checkpoint_dir,
                      const BatchJob& job);
/// The same for the directories of the model_checkpoint callbacks. Compares the free space there with the checkpoints that retention keeps.
/// When the size of the state is known, and before the training changes anything.
void check_checkpoint_folders(Trainer& trainer, MpiRuntime& mpi);

}  // namespace levin::cli
