#pragma once

namespace levin::detail {

/// Makes aten::batch_norm heed SyncBatchNorm::Scope and BatchNormRecorder, on each device. Once per process; later calls do nothing.
void register_batch_norm_kernels();

}  // namespace levin::detail
