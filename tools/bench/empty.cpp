// A program that is linked to LibTorch and does nothing: what any job's --help takes at least.
#include <ATen/Parallel.h>

int main() { return at::get_num_threads() > 0 ? 0 : 1; }
