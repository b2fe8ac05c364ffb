#include "worker/step/gpu_rank_memory.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/gpu/lane_tiles.h"
#include "common/gpu/record_format.h"
#include "common/optimizer/optimizer.h"
#include "worker/step/rank_state.h"

namespace isthmus {
namespace {

// Filled for every kGroupBlock of `extent`.
void LookUp(const Layout& layout, const Extent& extent, std::span<uint8_t> groups,
            std::span<uint8_t> logical) {
  for (const Layout::Segment& segment : layout.segments()) {
    const uint64_t begin = std::max(segment.begin, extent.begin);
    for (uint64_t i = begin; i < std::min(segment.end, extent.end); i += kGroupBlock) {
      groups[(i - extent.begin) / kGroupBlock] = static_cast<uint8_t>(segment.parameter_group);
    }
  }
  for (const Extent& run : LogicalRuns(layout, extent)) {
    for (uint64_t i = run.begin; i < run.end; i += kGroupBlock) {
      logical[(i - extent.begin) / kGroupBlock] =
          static_cast<uint8_t>(std::min(kGroupBlock, run.end - i));
    }
  }
}

absl::Status Allocate(const RunSpec& run, uint64_t length, uint64_t momentum_length,
                      size_t tables_bytes, Device& device, GpuRankMemory& made) {
  const size_t bytes = length * sizeof(float);
  ISTHMUS_ASSIGN_OR_RETURN(made.tables, device.Allocate(tables_bytes));
  ISTHMUS_ASSIGN_OR_RETURN(made.masters, device.Allocate(bytes));
  for (int i = 0; i < OptimizerStateVectors(run.optimizer); ++i) {
    ISTHMUS_ASSIGN_OR_RETURN(made.optimizer.emplace_back(), device.Allocate(bytes));
  }
  ISTHMUS_ASSIGN_OR_RETURN(made.momentum, device.Allocate(momentum_length * sizeof(float)));
  ISTHMUS_ASSIGN_OR_RETURN(made.groups, device.Allocate(length / kGroupBlock));
  ISTHMUS_ASSIGN_OR_RETURN(made.logical, device.Allocate(length / kGroupBlock));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GpuRankMemory> GpuRankMemory::Create(const RunSpec& run, GroupId group,
                                                    const Layout& layout, const Shard& shard,
                                                    uint32_t rank, Device& device,
                                                    DeviceStream& stream) {
  const RecordTables tables(RoundFormats(run).FormatAt(Round(1), group));
  const RecordFormat shape = tables.FormatAt(nullptr);
  GpuRankMemory made;
  const uint64_t length = shard.length();
  uint64_t momentum_length = 0;
  for (const Shard::Run& owned : shard.runs()) {
    const uint64_t chunks = ChunksOf(owned.extent, run.format.chunk_size).count;
    made.momentum_starts.push_back(momentum_length);
    momentum_length += LaneTiledLength(chunks, run.format.chunk_size);
    made.longest_records =
        std::max(made.longest_records, RecordWords(shape, chunks) + PresenceWords(chunks));
  }
  const absl::Status status =
      Allocate(run, length, momentum_length, tables.size_bytes(), device, made);
  if (absl::IsResourceExhausted(status)) {
    const auto vectors = static_cast<uint64_t>(1 + OptimizerStateVectors(run.optimizer));
    const uint64_t bytes = tables.size_bytes() +
                           (vectors * length + momentum_length) * sizeof(float) +
                           2 * length / kGroupBlock;
    return absl::ResourceExhaustedError(absl::StrCat("the state of ", layout.length(),
                                                     " elements needs ", bytes, " bytes at rank ",
                                                     rank, ": ", std::string(status.message())));
  }
  ISTHMUS_RETURN_IF_ERROR(status);

  // Only now, that there is room for the rest: what a layout says may be any size.
  std::vector<uint8_t> groups(length / kGroupBlock), logical(length / kGroupBlock);
  for (const Shard::Run& owned : shard.runs()) {
    const uint64_t at = owned.start / kGroupBlock;
    LookUp(layout, owned.extent, std::span(groups).subspan(at), std::span(logical).subspan(at));
  }
  made.format = tables.FormatAt(made.tables.data());
  const std::vector<std::byte> bytes = tables.BytesAt(made.tables.data());
  stream.CopyIn(made.tables.data(), bytes.data(), bytes.size());
  stream.CopyIn(made.groups.data(), groups.data(), groups.size());
  stream.CopyIn(made.logical.data(), logical.data(), logical.size());
  stream.Zero(made.masters.data(), made.masters.size_bytes());
  for (const DeviceMemory& vector : made.optimizer) {
    stream.Zero(vector.data(), vector.size_bytes());
  }
  stream.Zero(made.momentum.data(), made.momentum.size_bytes());
  ISTHMUS_RETURN_IF_ERROR(stream.Synchronize());
  return made;
}

}  // namespace isthmus
