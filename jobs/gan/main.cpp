#include "../fashion_mnist/fashion_mnist.h"
#include "gan.h"
#include "levin/cli/run.h"

int main(int argc, char** argv) { return levin::cli::run<gan::Gan, fashion_mnist::FashionMnist>(argc, argv); }
