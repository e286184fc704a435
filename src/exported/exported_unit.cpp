#include "exported_unit.h"

#include <c10/core/GradMode.h>

#include <utility>

namespace levin::exported {
namespace {

std::vector<at::Tensor> copies_of(const std::vector<at::Tensor>& buffers) {
  std::vector<at::Tensor> copies;
  copies.reserve(buffers.size());
  for (const auto& buffer : buffers) copies.push_back(buffer.detach().clone());
  return copies;
}

// Past the version counters: a backward to come may have saved the buffers.
void assign(const std::vector<at::Tensor>& buffers, const std::vector<at::Tensor>& values) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < buffers.size(); i++) buffers[i].variable_data().copy_(values[i]);
}

}  // namespace

// The second computation of a checkpointed unit sees the buffers as the first did, and leaves them as they are.
UnitValues ExportedUnitImpl::compute(UnitValues values) {
  const auto& [interpreter, changing] = *values.program;
  if (checkpointing_ == ActivationCheckpointing::none || changing.empty())
    return {interpreter.call(std::move(values.items)), values.program};
  const bool again = !values.buffers->empty();
  const auto current = again ? copies_of(changing) : std::vector<at::Tensor>();
  if (again)
    assign(changing, *values.buffers);
  else
    *values.buffers = copies_of(changing);
  UnitValues results{interpreter.call(std::move(values.items)), values.program};
  if (again) assign(changing, current);
  return results;
}

}  // namespace levin::exported
