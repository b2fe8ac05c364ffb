// What a rank keeps on its GPU: masters, optimizer state and momentum of its shard, and what
// kernels look up of the layout.
#ifndef ISTHMUS_WORKER_STEP_GPU_RANK_MEMORY_H_
#define ISTHMUS_WORKER_STEP_GPU_RANK_MEMORY_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <vector>

#include "common/device/device.h"
#include "common/gpu/record_tables.h"
#include "common/run/run_spec.h"
#include "common/tensor/layout.h"
#include "common/tensor/ownership.h"

namespace isthmus {

inline constexpr uint64_t kGroupBlock = 64;  // elements that share a parameter group: a tensor's
                                             // begin is a multiple of these

// What kernels need to know of a format.
struct GpuFormat {
  // Blocks until all that is queued has been done. Errors: RESOURCE_EXHAUSTED.
  static absl::StatusOr<GpuFormat> Create(const PayloadFormat& format, Device& device,
                                          DeviceStream& stream);

  RecordFormat format;  // points into `tables`
  DeviceMemory tables;
};

// The momentum, and how contributions are made of it.
struct GpuMomentum {
  // Zero, once `stream` has come so far. Errors: as for a format.
  static absl::StatusOr<GpuMomentum> Create(const PayloadFormat& format, const Shard& shard,
                                            Device& device, DeviceStream& stream);
  // `run` counts the shard's.
  float* Of(size_t run) const { return values.as<float>() + starts[run]; }

  const PayloadFormat& payload() const { return contributions.format.payload; }

  GpuFormat contributions;
  std::vector<uint64_t> starts;  // per run
  uint64_t longest_records = 0;  // words of a run's records and presence
  DeviceMemory values;           // lane_tiles.h, run by run
};

// The same momentum as that of `format`, transformed back and forth if its chunks are of another
// size: through the host, whose transforms give the same bits, and which must have room for it.
// Nothing that is queued uses `momentum`; blocks until all is done. Errors: as for a format; what
// the device says.
absl::StatusOr<GpuMomentum> Recut(GpuMomentum momentum, const PayloadFormat& format,
                                  const Shard& shard, Device& device, DeviceStream& stream);

// Packed as the shard is, which the rank knows: [length] is its elements.
struct GpuRankMemory {
  // State is zero. `rank` is for words only. Errors: RESOURCE_EXHAUSTED with the bytes needed and
  // free.
  static absl::StatusOr<GpuRankMemory> Create(const RunSpec& run, GroupId group,
                                              const Layout& layout, const Shard& shard,
                                              uint32_t rank, Device& device, DeviceStream& stream);

  // `start`: a run's.
  const uint8_t* GroupsAt(uint64_t start) const {
    return groups.as<uint8_t>() + start / kGroupBlock;
  }
  const uint8_t* LogicalAt(uint64_t start) const {
    return logical.as<uint8_t>() + start / kGroupBlock;
  }

  GpuMomentum momentum;
  DeviceMemory masters;                 // float[length]
  std::vector<DeviceMemory> optimizer;  // OptimizerStateVectors() of them, as masters
  // Where jobs step by themselves, for what they were given while masters moved on, as masters; and
  // with overlap for what this rank's buffers held: their length, in their type. Else none. (Kept
  // ready, for making them later would wait for all that is under way.)
  DeviceMemory given, taken_at;
  DeviceMemory groups;   // per kGroupBlock: the parameter group
  DeviceMemory logical;  // per kGroupBlock: how many are logical
};

}  // namespace isthmus

#endif  // ISTHMUS_WORKER_STEP_GPU_RANK_MEMORY_H_
