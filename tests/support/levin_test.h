#pragma once
// Included by every test file.
#include <ATen/core/Tensor.h>

#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "levin/comm/mpi_runtime.h"

namespace levin::test {

/// MPI for this process, started at the first call and finished at its end.
MpiRuntime& runtime();

/// Checks that `call` throws an ErrorType whose message contains every one of `parts`.
template <class ErrorType, class Call>
void check_throws(Call&& call, const std::vector<std::string>& parts) {
  try {
    call();
    BOOST_ERROR("nothing was thrown");
  } catch (const ErrorType& error) {
    for (const auto& part : parts)
      BOOST_CHECK_MESSAGE(std::string(error.what()).find(part) != std::string::npos, "\"" << part << "\" is not in: " << error.what());
  }
}

}  // namespace levin::test
