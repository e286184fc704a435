// Expected: a link leads to a field of a model's Config
#include "levin/cli/run.h"

struct ModelConfig {
  int64_t classes = 0;
};
LEVIN_CONFIG(ModelConfig, (classes, "how many"))
struct Data : levin::DataModule {
  int64_t classes = 10;
};
struct Model : levin::Module {
  levin::Tensor training_step(const levin::Batch& batch) override { return batch["x"]; }
};

int main(int argc, char** argv) {
  return levin::cli::run<Model, Data>(argc, argv, levin::cli::link<&Data::classes, &ModelConfig::classes>());
}
