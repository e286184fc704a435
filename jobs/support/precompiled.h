// Compiled once for all jobs.
#include <torch/nn/modules/conv.h>

#include "levin/precompiled.h"
