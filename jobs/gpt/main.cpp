#include "gpt.h"
#include "gpt_data.h"
#include "levin/cli/run.h"

int main(int argc, char** argv) {
  using namespace levin::cli;
  return run<gpt::Gpt, gpt::GptData>(argc, argv, link<&gpt::GptDataConfig::context, &gpt::GptConfig::context>());
}
