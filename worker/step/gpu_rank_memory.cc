#include "worker/step/gpu_rank_memory.h"

#include <absl/strings/str_cat.h>

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/compression/dct.h"
#include "common/gpu/lane_tiles.h"
#include "common/gpu/record_format.h"
#include "common/optimizer/optimizer.h"
#include "common/run/exchange_policy.h"
#include "worker/jobs/attach_table.h"
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

// Calls f(element of rows of blocks, where it is in lane tiles) for all of `length`.
template <typename F>
void ForEachInLaneTiles(uint64_t block, uint64_t length, F f) {
  for (uint64_t chunk = 0; chunk * block < length; ++chunk) {
    for (uint64_t i = 0; i < block; ++i) {
      f(chunk * block + i, LaneTilePlace(chunk, i, block));
    }
  }
}

// Bytes of each part.
struct Need {
  size_t vector = 0;  // masters, and each of the optimizer's
  int state_vectors = 0;
  size_t given = 0;
  size_t taken_at = 0;
  size_t blocks = 0;  // a byte for each kGroupBlock

  size_t all() const {
    return (1 + static_cast<size_t>(state_vectors)) * vector + given + taken_at + 2 * blocks;
  }
};

Need NeedOf(const RunSpec& run, const Layout& layout, uint64_t length) {
  const size_t vector = length * sizeof(float);
  return {.vector = vector,
          .state_vectors = OptimizerStateVectors(run.optimizer),
          .given = PolicyOf(run).job_steps() ? vector : 0,
          .taken_at = PolicyOf(run).keeps_way ? layout.length() * SizeOf(TypeOf(layout)) : 0,
          .blocks = length / kGroupBlock};
}

absl::Status Allocate(const Need& need, Device& device, GpuRankMemory& made) {
  ISTHMUS_ASSIGN_OR_RETURN(made.masters, device.Allocate(need.vector));
  for (int i = 0; i < need.state_vectors; ++i) {
    ISTHMUS_ASSIGN_OR_RETURN(made.optimizer.emplace_back(), device.Allocate(need.vector));
  }
  ISTHMUS_ASSIGN_OR_RETURN(made.given, device.Allocate(need.given));
  ISTHMUS_ASSIGN_OR_RETURN(made.taken_at, device.Allocate(need.taken_at));
  ISTHMUS_ASSIGN_OR_RETURN(made.groups, device.Allocate(need.blocks));
  ISTHMUS_ASSIGN_OR_RETURN(made.logical, device.Allocate(need.blocks));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GpuFormat> GpuFormat::Create(const PayloadFormat& format, Device& device,
                                            DeviceStream& stream) {
  const RecordTables tables(format);
  GpuFormat made;
  ISTHMUS_ASSIGN_OR_RETURN(made.tables, device.Allocate(tables.size_bytes()));
  made.format = tables.FormatAt(made.tables.data());
  const std::vector<std::byte> bytes = tables.BytesAt(made.tables.data());
  stream.CopyIn(made.tables.data(), bytes.data(), bytes.size());
  ISTHMUS_RETURN_IF_ERROR(stream.Synchronize());
  return made;
}

absl::StatusOr<GpuMomentum> GpuMomentum::Create(const PayloadFormat& format, const Shard& shard,
                                                Device& device, DeviceStream& stream) {
  GpuMomentum made;
  ISTHMUS_ASSIGN_OR_RETURN(made.contributions, GpuFormat::Create(format, device, stream));
  const RecordFormat& shape = made.contributions.format;
  const uint32_t tiled = TiledSize(shape.payload);
  uint64_t length = 0;
  for (const Shard::Run& owned : shard.runs()) {
    const uint64_t chunks = ChunksOf(owned.extent, format.chunk_size).count;
    made.starts.push_back(length);
    length += LaneTiledLength(owned.extent.size() / tiled, tiled);
    made.longest_records =
        std::max(made.longest_records, RecordWords(shape, chunks) + PresenceWords(chunks));
  }
  ISTHMUS_ASSIGN_OR_RETURN(made.values, device.Allocate(length * sizeof(float)));
  stream.Zero(made.values.data(), made.values.size_bytes());
  return made;
}

absl::StatusOr<GpuMomentum> Recut(GpuMomentum momentum, const PayloadFormat& format,
                                  const Shard& shard, Device& device, DeviceStream& stream) {
  const PayloadFormat before = momentum.payload();
  const std::vector<uint64_t> starts = momentum.starts;
  std::vector<float> tiles(momentum.values.size_bytes() / sizeof(float));
  stream.CopyOut(tiles.data(), momentum.values.data(), tiles.size() * sizeof(float));
  ISTHMUS_RETURN_IF_ERROR(stream.Synchronize());
  momentum = GpuMomentum();  // before the new one: both may not fit
  device.FreeLeft();
  ISTHMUS_ASSIGN_OR_RETURN(GpuMomentum made, GpuMomentum::Create(format, shard, device, stream));
  std::vector<float> rows, recut;
  for (size_t i = 0; i < shard.runs().size(); ++i) {
    rows.resize(shard.runs()[i].extent.size());
    ForEachInLaneTiles(TiledSize(before), rows.size(),
                       [&](uint64_t row, uint64_t tile) { rows[row] = tiles[starts[i] + tile]; });
    if (format.transform == Transform::kDct && format.chunk_size != before.chunk_size) {
      RecutDct(static_cast<int>(before.chunk_size), static_cast<int>(format.chunk_size), rows);
    }
    const uint32_t size = TiledSize(format);
    recut.assign(LaneTiledLength(rows.size() / size, size), 0.0f);
    ForEachInLaneTiles(size, rows.size(),
                       [&](uint64_t row, uint64_t tile) { recut[tile] = rows[row]; });
    stream.CopyIn(made.Of(i), recut.data(), recut.size() * sizeof(float));
    ISTHMUS_RETURN_IF_ERROR(stream.Synchronize());
  }
  return made;
}

absl::StatusOr<GpuRankMemory> GpuRankMemory::Create(const RunSpec& run, GroupId group,
                                                    const Layout& layout, const Shard& shard,
                                                    uint32_t rank, Device& device,
                                                    DeviceStream& stream) {
  GpuRankMemory made;
  const uint64_t length = shard.length();
  const Need need = NeedOf(run, layout, length);
  absl::Status status = Allocate(need, device, made);
  if (status.ok()) {
    auto momentum =
        GpuMomentum::Create(RoundFormats(run).FormatAt(Round(1), group), shard, device, stream);
    status = momentum.status();
    if (momentum.ok()) made.momentum = *std::move(momentum);
  }
  if (absl::IsResourceExhausted(status)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the state of ", layout.length(), " elements needs ", need.all() + length * sizeof(float),
        " bytes at rank ", rank, ": ", std::string(status.message())));
  }
  ISTHMUS_RETURN_IF_ERROR(status);

  // Only now, that there is room for the rest: what a layout says may be any size.
  std::vector<uint8_t> groups(length / kGroupBlock), logical(length / kGroupBlock);
  for (const Shard::Run& owned : shard.runs()) {
    const uint64_t at = owned.start / kGroupBlock;
    LookUp(layout, owned.extent, std::span(groups).subspan(at), std::span(logical).subspan(at));
  }
  stream.CopyIn(made.groups.data(), groups.data(), groups.size());
  stream.CopyIn(made.logical.data(), logical.data(), logical.size());
  stream.Zero(made.masters.data(), made.masters.size_bytes());
  for (const DeviceMemory& vector : made.optimizer) {
    stream.Zero(vector.data(), vector.size_bytes());
  }
  ISTHMUS_RETURN_IF_ERROR(stream.Synchronize());
  return made;
}

}  // namespace isthmus
