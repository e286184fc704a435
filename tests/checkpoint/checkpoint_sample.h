#pragma once
// A state with tensors of every dtype, and folders that all ranks see.
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/checkpoint/checkpoint_state.h"
#include "levin/comm/communicator.h"

namespace levin::test {

/// A new folder, the same for all ranks, which rank 0 removes.
class SharedFolder {
 public:
  explicit SharedFolder(Communicator& communicator, const std::string& parent = "/tmp");
  ~SharedFolder();
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  std::filesystem::path path;

 private:
  Communicator& communicator_;
};

/// What a rank brings to the save of a step: uneven pieces of tensors of all dtypes, scalars and empty ones among them, and two texts.
struct Sample {
  /// `extra`: elements of one more tensor of fp32.
  Sample(int64_t step, int rank, int ranks, int64_t extra = 100000);
  CheckpointState state;
  std::vector<Tensor> tensors;  ///< whole
};

/// Is this what a Sample of this step had saved? Reads it in as many pieces as there are `ranks`, and compares those of `rank`.
void check_sample(const CheckpointReader& reader, int64_t step, int rank, int ranks, int64_t extra = 100000);

/// Flips a bit of a file.
void flip(const std::filesystem::path& file, uint64_t bit);
std::string bytes_of(const std::filesystem::path& file);
void write_bytes(const std::filesystem::path& file, const std::string& bytes);
/// Names in a folder, sorted; hidden ones, too.
std::vector<std::string> names_in(const std::filesystem::path& folder);
/// How many rounds a test of random damage has: 200, or what the command line says after `--`.
int rounds();
/// The words of a program; throws where it fails.
std::string output_of(const std::string& command);

}  // namespace levin::test
