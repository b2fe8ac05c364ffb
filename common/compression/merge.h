// Contributions in, one update out; no state, no I/O. By tiles, of one-bit values by masks;
// naively, value by value: ReferenceMerge of tests/common/compression/reference_merge.h.
//
// Source: DeMo (arXiv:2411.19870v2), aggregation; docs/protocol.md, P10.
#ifndef ISTHMUS_COMMON_COMPRESSION_MERGE_H_
#define ISTHMUS_COMMON_COMPRESSION_MERGE_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "common/compression/formats.h"
#include "common/compression/payload.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {

struct MergeInput {
  float weight = 1.0f;                 // w n / sum(w); exactly 1 when all samples are equal
  std::span<const PayloadView> parts;  // disjoint, in any order
};

// Weights for MergeInput from the contributors' sample counts, in the same order. Computed in
// double, rounded once. All-zero samples count as equal.
std::vector<float> MergeWeights(std::span<const uint64_t> samples);

// Merges tile by tile; allocates when made, and where there are more contributors than ever before.
// Single-threaded; several may work on one update.
class TileMerger {
 public:
  // Of payloads with this chunk size and at most this k.
  TileMerger(MergeRule rule, uint32_t chunk_size, uint32_t k, const TileKernels& kernels);

  // Adds what `inputs` say of `count` <= kTileChunks chunks from `first_chunk` on, in the order
  // given, which must be ascending group id: the result is the same bits on every machine and for
  // every arrival order. Returns which chunks some group sent something of, as bits. The result is
  // in tile() until the next call.
  uint32_t Merge(uint64_t first_chunk, int count, std::span<const MergeInput> inputs);

  // The same in steps: Begin, Add for each part in order, Finish with the number of contributors.
  // `sign_tiles`: each part to come has_sign_tiles(), so that they merge in a fraction of the time.
  void Begin(bool sign_tiles);
  void Add(const PayloadView& part, float weight, uint64_t first_chunk, int count);
  uint32_t Finish(size_t contributors);

  // [chunk_size, kTileChunks], as tile_kernels.h has it: merged coefficients, 0 where nobody sent.
  const float* tile() const { return tile_.data(); }

 private:
  // One contributor's values as masks.
  struct Signs {
    uint32_t lanes;                  // bits of those that hold a chunk
    std::vector<uint32_t> masks;     // [MaskWords, kTileChunks]
    std::vector<uint32_t> negative;  // as masks
    std::array<float, kTileChunks> magnitudes;
  };
  void AddSigns(const PayloadView& part, float weight, uint64_t begin, int count, uint32_t lane);
  void AddValues(const PayloadView& part, float weight, uint64_t begin, int count, uint32_t lane);

  const MergeRule rule_;
  const uint32_t chunk_size_;
  const uint32_t k_;
  const TileKernels& kernels_;
  bool by_masks_ = false;
  uint32_t present_ = 0;
  std::vector<float> tile_;
  // By masks: the contributors so far, in order.
  size_t sign_count_ = 0;
  std::vector<Signs> signs_;
  std::vector<SignTile> sign_tiles_;
  // Else: [chunk_size, kTileChunks] pairs (sum, how many sent it), where the rule needs to know.
  std::vector<float> pairs_;
  std::vector<uint16_t> indices_;
  std::vector<float> values_;
};

// The merged coefficients of one bucket, in plain rows.
struct MergedBucket {
  uint64_t first_chunk = 0;
  uint64_t chunk_count = 0;
  std::vector<float> coefficients;  // [chunk_count, chunk_size]; zero where nobody sent
  std::vector<uint8_t> present;     // [chunk_count] 1 where some group sent something
};

// All tiles of a bucket. `format` is that of the parts; CHECKs that they lie within the bucket.
MergedBucket Merge(MergeRule rule, const PayloadFormat& format, uint64_t first_chunk,
                   uint64_t chunk_count, std::span<const MergeInput> inputs);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_MERGE_H_
