// What a rank keeps on its GPU: masters, optimizer state and momentum of its parts, and what
// kernels look up of the layout.
#ifndef ISTHMUS_WORKER_STEP_GPU_RANK_MEMORY_H_
#define ISTHMUS_WORKER_STEP_GPU_RANK_MEMORY_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <vector>

#include "common/base/ids.h"
#include "common/device/device.h"
#include "common/gpu/record_tables.h"
#include "common/run/run_spec.h"
#include "common/tensor/buckets.h"
#include "common/tensor/layout.h"

namespace isthmus {

inline constexpr uint64_t kGroupBlock = 64;  // elements that share a parameter group: a tensor's
                                             // begin is a multiple of these

// Its parts lie one after the other; [length] is the elements of all of them.
struct GpuRankMemory {
  // State is zero. Errors: RESOURCE_EXHAUSTED with the bytes needed and free.
  static absl::StatusOr<GpuRankMemory> Create(const RunSpec& run, GroupId group,
                                              const Layout& layout, const Buckets& buckets,
                                              uint32_t rank, uint32_t ranks, Device& device,
                                              DeviceStream& stream);

  uint64_t start(BucketIndex bucket) const { return starts[bucket.value()]; }
  float* MastersOf(BucketIndex bucket) const { return masters.as<float>() + start(bucket); }
  float* MomentumOf(BucketIndex bucket) const {
    return momentum.as<float>() + momentum_starts[bucket.value()];
  }
  const uint8_t* GroupsOf(BucketIndex bucket) const {
    return groups.as<uint8_t>() + start(bucket) / kGroupBlock;
  }
  const uint8_t* LogicalOf(BucketIndex bucket) const {
    return logical.as<uint8_t>() + start(bucket) / kGroupBlock;
  }

  RecordFormat format;           // of contributions; points into `tables`
  std::vector<uint64_t> starts;  // per bucket: where its part begins in [length]
  std::vector<uint64_t> momentum_starts;
  uint64_t longest = 0;          // part
  uint64_t longest_records = 0;  // words of a part's records and presence
  DeviceMemory tables;
  DeviceMemory masters;                 // float[length]
  std::vector<DeviceMemory> optimizer;  // OptimizerStateVectors() of them, as masters
  DeviceMemory momentum;                // lane_tiles.h, bucket by bucket
  DeviceMemory groups;                  // per kGroupBlock: the parameter group
  DeviceMemory logical;                 // per kGroupBlock: how many are logical
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_GPU_RANK_MEMORY_H_
