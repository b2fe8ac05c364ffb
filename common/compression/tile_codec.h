// FlexDeMo's momentum as daemons keep it: in the frequency domain, in tiles of 16 chunks side by
// side (common/kernels/tile_kernels.h), so that transform, decay and selection work on whole SIMD
// registers without moving anything about. Bit for bit what demo_codec.h does on rows, naively
// (tile_codec_test.cc).
#ifndef ISTHMUS_COMMON_COMPRESSION_TILE_CODEC_H_
#define ISTHMUS_COMMON_COMPRESSION_TILE_CODEC_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/compression/payload.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {

// Floats that `chunks` chunks take in tiles: the last one may be partly empty.
uint64_t TiledLength(uint64_t chunks, uint32_t chunk_size);

// Runs body(0) ... body(count - 1), in any order, on any threads, and returns when all are done.
using ParallelFor = std::function<void(int count, const std::function<void(int)>& body)>;

struct DemoDials {
  float decay = 0.999f;
  float alpha = 1.0f;  // the share of what is sent that leaves the momentum
};

// Of one thread at a time. Allocates in its first calls, and no more once these have seen the
// largest vector.
class TileCodec {
 public:
  // CHECKs a DCT format with indices and IsChunkSize(chunk_size). Work is cut into `threads`
  // segments for `parallel`; the result does not depend on it.
  TileCodec(const PayloadFormat& format, const DemoDials& dials, const TileKernels& kernels,
            int threads = 1, ParallelFor parallel = nullptr);
  ~TileCodec();

  // m <- decay m + scale DCT(g): `gradient` is rows of whole chunks, `momentum` their tiles.
  void Accumulate(float scale, std::span<const float> gradient, std::span<float> momentum);

  // The same, and then takes the k largest of each chunk out: encodes them into `payload`, and
  // subtracts alpha times what it says. `exact`, [chunk_count, k], gets what was taken where the
  // payload does not say it (kSign); else it is empty.
  void AccumulateAndExtract(const PayloadPlace& place, float scale, std::span<const float> gradient,
                            std::span<float> momentum, std::string* payload,
                            std::vector<float>* exact);

  // Adds back what AccumulateAndExtract took for `payload`.
  void Return(const PayloadView& payload, std::span<const float> exact, std::span<float> momentum);

 private:
  struct Segment;

  void ExtractSigns(Segment& segment, int chunks, float* tile);
  void ExtractTile(Segment& segment, int chunks, float* tile, float* exact);

  const PayloadFormat format_;
  const DemoDials dials_;
  const TileKernels& kernels_;
  const ParallelFor parallel_;
  const SubsetTables* tables_ = nullptr;  // where values are one bit and kernels rank masks
  std::vector<std::unique_ptr<Segment>> segments_;
  PayloadWriter writer_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_TILE_CODEC_H_
