// What tests with a model include, compiled once: LibTorch's modules take a quarter of a minute each time.
#include <torch/nn/modules/linear.h>

#include "levin/trainer/module.h"
