#pragma once
#include "levin/comm/communicator_error.h"
#include "levin_test.h"

namespace levin::test {

/// An error of all ranks: each has it from itself, or from one that was faster.
template <class ErrorType, class Call>
void check_all_throw(Call&& call, const std::vector<std::string>& parts) {
  try {
    check_throws<ErrorType>(call, parts);
  } catch (const CommunicatorAborted& error) {
    for (const auto& part : parts) BOOST_TEST(std::string(error.what()).find(part) != std::string::npos, error.what());
  }
}

}  // namespace levin::test
