// A build without CUDA, or without nccl.h.
#include "common/collectives/nccl.h"

namespace isthmus {

absl::StatusOr<std::shared_ptr<Nccl>> OpenNccl() {
  return absl::FailedPreconditionError("NCCL: this program was built without it");
}

}  // namespace isthmus
