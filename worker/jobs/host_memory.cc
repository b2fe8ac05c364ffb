#include "worker/jobs/host_memory.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "worker/jobs/attach_table.h"

namespace isthmus {

HostNeed BuffersNeed(const Layout& layout, uint32_t ranks, const JobTerms& terms) {
  const uint64_t flat_bytes =
      terms.memory == JobMemory::kHost ? layout.length() * SizeOf(TypeOf(layout)) : 0;
  const uint64_t flat_buffers = terms.own_optimizer ? 1 : 2;
  return {.buffers_bytes = (flat_buffers * flat_bytes + layout.constants_bytes()) * ranks,
          .largest_buffer_bytes = std::max(flat_bytes, layout.constants_bytes())};
}

absl::Status CheckHostMemory(const Layout& layout, uint32_t ranks, const HostNeed& need,
                             std::span<const MemoryLimit> limits) {
  return CheckMemory(
      absl::StrCat("a job of ", layout.logical_length(), " parameters on ", ranks,
                   ranks == 1 ? " rank" : " ranks"),
      absl::StrCat("shared buffers ", need.buffers_bytes, ", state ", need.state_bytes,
                   ", a snapshot ", need.snapshot_bytes, ", the daemon ", kDaemonBytes),
      {.private_bytes = kDaemonBytes + need.state_bytes + need.snapshot_bytes,
       .shared_bytes = need.buffers_bytes,
       .largest_shared_bytes = need.largest_buffer_bytes},
      limits);
}

}  // namespace isthmus
