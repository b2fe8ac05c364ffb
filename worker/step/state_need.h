// What a group's state takes of the host it is on, for worker/jobs/host_memory.h. Pure.
#ifndef ISTHMUS_WORKER_STEP_STATE_NEED_H_
#define ISTHMUS_WORKER_STEP_STATE_NEED_H_

#include <algorithm>
#include <cstdint>

#include "common/run/exchange_policy.h"
#include "common/run/run_spec.h"
#include "common/tensor/elements.h"
#include "common/tensor/layout.h"
#include "worker/jobs/attach_table.h"
#include "worker/jobs/job_server.h"

namespace isthmus {

// State of `ranks` here and one image of it; no buffers. `on_host`: the ranks are CPUs; GPUs keep
// their state, and refuse for themselves what does not fit them (gpu_rank_memory.h).
inline HostNeed StateNeed(const RunSpec& run, const Layout& layout, uint32_t ranks, bool on_host) {
  constexpr uint64_t kLongestBucket = uint64_t{4} << 20;  // unless the run asks for more
  const uint64_t vector_bytes = layout.length() * sizeof(float);
  const auto vectors = static_cast<uint64_t>(1 + OptimizerStateVectors(run.optimizer));  // masters
  HostNeed need;
  need.snapshot_bytes = vectors * vector_bytes + layout.constants_bytes();
  if (!on_host) return need;
  // Beside them momentum, and a direction or gradient of one bucket. Where jobs step, what they
  // were given while masters moved on, and each rank's progress of one bucket.
  const uint64_t bucket_bytes = std::min(layout.length(), kLongestBucket) * sizeof(float);
  need.state_bytes = (vectors + 1) * vector_bytes + layout.constants_bytes() + bucket_bytes;
  if (PolicyOf(run).job_steps()) need.state_bytes += vector_bytes + ranks * bucket_bytes;
  // Each rank's buffers as they were, whatever part of them it owns.
  if (PolicyOf(run).keeps_way) need.state_bytes += ranks * layout.length() * SizeOf(TypeOf(layout));
  return need;
}

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_STATE_NEED_H_
