#include "fno.h"
#include "levin/cli/array_data.h"
#include "levin/cli/run.h"

int main(int argc, char** argv) { return levin::cli::run<surrogate::Fno, levin::cli::Hdf5Data>(argc, argv); }
