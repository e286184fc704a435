#pragma once
#include <filesystem>
#include <vector>

#include "levin/trainer/trainer.h"

namespace levin::cli {

/// Writes the predictions of all ranks into one HDF5 file: "index" [n] and "prediction" [n, values per sample], in the order of the
/// samples; with several loaders, in groups "dataloader_idx_0" and so on. Rank 0 writes. Collective; IoError on rank 0.
void write_predictions(const std::filesystem::path& file, const std::vector<Prediction>& predictions, const Mesh& mesh);

}  // namespace levin::cli
