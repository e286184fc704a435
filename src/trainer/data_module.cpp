#include "levin/trainer/data_module.h"

#include "levin/trainer/session.h"

namespace levin {

void DataModule::transfer_batch_to_device(Batch& batch, const Session& session) { session.receive(batch); }

}  // namespace levin
