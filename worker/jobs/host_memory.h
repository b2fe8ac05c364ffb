// What a job takes of its host's memory, counted before any of it is made, and whether there is as
// much. Refusing it at attach is cheap; the alternative is a kill in the first step, and again
// after each restart. Pure, but for the limits that are handed in (common/base/memory_limit.h).
#ifndef ISTHMUS_WORKER_JOBS_HOST_MEMORY_H_
#define ISTHMUS_WORKER_JOBS_HOST_MEMORY_H_

#include <absl/status/status.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "common/base/memory_limit.h"
#include "common/tensor/layout.h"
#include "worker/jobs/job_server.h"

namespace isthmus {

// The daemon without a job: code's data, threads, streams and what is on its way through them.
inline constexpr uint64_t kDaemonBytes = uint64_t{64} << 20;

// Of the `ranks` on this host, together. Parameters and gradients on a device count nothing.
HostNeed BuffersNeed(const Layout& layout, uint32_t ranks, const JobTerms& terms);

// Errors: RESOURCE_EXHAUSTED with the bytes needed, by what they are for, and the bytes there.
absl::Status CheckHostMemory(const Layout& layout, uint32_t ranks, const HostNeed& need,
                             std::span<const MemoryLimit> limits);

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_JOBS_HOST_MEMORY_H_
