// What every job includes, compiled once: half a minute of LibTorch's headers.
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include "levin/cli/run.h"
