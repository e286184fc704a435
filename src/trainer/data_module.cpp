#include "levin/trainer/data_module.h"

#include "levin/core/error.h"
#include "levin/session/session.h"

namespace levin {

void DataModule::transfer_batch_to_device(Batch& batch, const Session& session) { session.receive(batch); }

Trainer& DataModule::trainer() const {
  if (!trainer_) throw UsageError("trainer", "the data module is not in a run", "use trainer() in prepare_data, setup and hooks");
  return *trainer_;
}

}  // namespace levin
