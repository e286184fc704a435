// Headers that every job includes, to be precompiled: LibTorch's modules alone take a quarter of a minute to parse. A program includes what
// it uses, whether this header is precompiled or not; docs/building.md says how.
#include <torch/nn/modules/linear.h>

#include "levin/cli/run.h"
#include "levin/data/tensor_dataset.h"
