#pragma once
// One file each. They return the exit code, and throw what goes wrong.
#include <string>
#include <vector>

namespace levin::ckpt {

using Words = std::vector<std::string>;

int inspect(const Words& words);
int verify(const Words& words);
int diff(const Words& words);
int export_weights(const Words& words);
int import_weights(const Words& words);
int prune(const Words& words);

}  // namespace levin::ckpt
