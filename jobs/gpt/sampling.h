#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/core/config.h"
#include "levin/core/tensor.h"

namespace gpt {

struct SamplingConfig {
  int64_t tokens = 200;
  double temperature = 0.8;
  int64_t top_k = 0;
};
LEVIN_CONFIG(SamplingConfig, (tokens, "tokens that predict adds to a prompt", at_least(1)),
             (temperature, "over 1: more surprising text; 0: always the most likely token", at_least(0)),
             (top_k, "sample from the k most likely tokens; 0: all", at_least(0)))

/// Continues prompts: input [n, longest] filled up on the right, length [n] -> [n, longest + tokens], filled up with -1. `logits` maps
/// [n, T], T at most `context`, to [n, T, vocabulary], and is called once for each token, however long the prompts are. A sample's draws
/// depend on the seed and its number alone.
levin::Tensor sample(const levin::Tensor& input, const levin::Tensor& length, const std::vector<int64_t>& numbers, int64_t context,
                     uint64_t seed, const SamplingConfig& config, const std::function<levin::Tensor(const levin::Tensor&)>& logits);

/// One row of them, as bytes.
std::string text_of(const levin::Tensor& row);

/// The texts of all ranks, by number, on every rank. Collective.
std::map<int64_t, std::string> gather_texts(const std::map<int64_t, std::string>& mine, levin::Communicator& communicator);

}  // namespace gpt
