#include "toy.h"

#include <ATen/ops/full.h>

#include "levin_test.h"

namespace levin::test {

Fitted fit(TrainerConfig config, ToyData& data, const std::function<void(Toy&)>& prepare) {
  Fitted fitted;
  fitted.trainer = std::make_shared<Trainer>(config, runtime(), 5);
  fitted.module = fitted.trainer->build<Toy>();
  fitted.logger = std::make_shared<MemoryLogger>();
  fitted.trainer->add_logger(fitted.logger);
  if (prepare) prepare(*fitted.module);
  fitted.trainer->fit(*fitted.module, data);
  return fitted;
}

double over_ranks(Session& session, double value) {
  const Tensor sum = at::full({1}, value, at::kDouble);
  session.communicator().all_reduce(sum).wait();
  return sum.item<double>();
}

}  // namespace levin::test
