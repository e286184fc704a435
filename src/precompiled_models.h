// Precompiled for the sources that include LibTorch's modules, which take a quarter of a minute to parse.
#include <torch/nn/module.h>

#include "precompiled.h"
