#pragma once
// Runs the program of a guide on the test program's ranks.
#include <string>
#include <vector>

#include "levin_test.h"

namespace levin::test {

/// Its exit code. `words` follow the program's name; nothing is written but what its data module writes.
inline int run_guide(int (*program)(int, char**), std::vector<std::string> words) {
  runtime();  // before the program's, which else would be the one that finishes MPI
  words.insert(words.begin(), "guide");
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  return program(static_cast<int>(argv.size()), argv.data());
}

}  // namespace levin::test
