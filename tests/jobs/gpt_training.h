#pragma once
// A small GPT of jobs/gpt, trained for some steps by a session.
#include <string>
#include <utility>
#include <vector>

#include "../../jobs/gpt/gpt.h"
#include "levin/session/session.h"

namespace levin::test {

gpt::GptConfig small_gpt(gpt::Activation activation, gpt::Positions positions);

/// The loss of each step over the runtime's ranks, on samples that are cut over them.
std::vector<double> gpt_losses(MpiRuntime& runtime, const SessionConfig& config, const gpt::GptConfig& model, int steps);

/// The strategies that work on any accelerator, by name.
std::vector<std::pair<std::string, StrategyConfig>> gpt_strategies(int ranks);

/// Checks that the losses of each strategy on all ranks are those of one rank on the CPU, within `tolerance`.
void follow_one_rank(const SessionConfig& config, const gpt::GptConfig& model, int steps, double tolerance);

}  // namespace levin::test
