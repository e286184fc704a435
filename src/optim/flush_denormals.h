#pragma once
#include <cfenv>
#include <vector>

namespace levin {

/// While it lives, this thread and its intra-op threads take denormal numbers for zeros, as operands and as results. Arithmetic on one
/// takes a CPU over a hundred cycles, and moments of gradients that vanish decay into them: what they add to a parameter cannot be seen.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  std::vector<std::fenv_t> before_;  // by thread
};

}  // namespace levin
