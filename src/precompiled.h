// Compiled once for the sources that include them: they take a quarter of a minute each time.
#include <torch/nn/module.h>
