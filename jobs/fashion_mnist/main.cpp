#include "classifier.h"
#include "fashion_mnist.h"
#include "levin/cli/run.h"

int main(int argc, char** argv) { return levin::cli::run<fashion_mnist::Classifier, fashion_mnist::FashionMnist>(argc, argv); }
