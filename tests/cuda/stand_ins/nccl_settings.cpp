#include <new>

#include "nccl_stand_in.h"

namespace stand_in {

NcclSettings& nccl_settings() {
  static NcclSettings settings;
  return settings;
}

NcclFindings& nccl_findings() {
  static NcclFindings findings;
  return findings;
}

void reset() {
  new (&nccl_settings()) NcclSettings;
  new (&nccl_findings()) NcclFindings;
}

}  // namespace stand_in
