#pragma once
#include <filesystem>
#include <vector>

#include "levin/trainer/trainer.h"

namespace levin::cli {

/// One HDF5 file for all ranks' predictions: "index" [n] and "prediction" [n, values of a sample], in the order of the samples; of
/// several loaders, in groups "dataloader_idx_0" and so on. Written by rank 0. Collective; IoError on rank 0.
void write_predictions(const std::filesystem::path& file, const std::vector<Prediction>& predictions, const Mesh& mesh);

}  // namespace levin::cli
