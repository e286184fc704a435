#pragma once
#include <filesystem>
#include <string>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"

namespace levin {

/// Lightning's arguments of OnExceptionCheckpoint.
struct OnExceptionCheckpointConfig {
  std::filesystem::path dirpath = {};
  std::string filename = "on_exception";
};
LEVIN_CONFIG(OnExceptionCheckpointConfig, (dirpath, "folder of the checkpoint; empty: checkpoints in the run's"),
             (filename, "the checkpoint's name there"))
LEVIN_CHOICE(OnExceptionCheckpointConfig, "on_exception_checkpoint")

/// A checkpoint of the last complete step when the training ends with an exception. All ranks must have thrown within some seconds of
/// each other, with the same number of steps, and none in the middle of an update; else nothing is saved, and the error is reported as it
/// would be without this. ConfigError without a folder, or if `filename` is not a valid name.
class OnExceptionCheckpoint : public Callback {
 public:
  using Config = OnExceptionCheckpointConfig;
  explicit OnExceptionCheckpoint(OnExceptionCheckpointConfig config = {});

  void setup(Stage stage) override;

 private:
  OnExceptionCheckpointConfig config_;
};

}  // namespace levin
