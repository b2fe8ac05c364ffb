#include "tests/golden/node_codec.h"

#include "common/compression/demo_codec.h"
#include "common/kernels/simd.h"

namespace isthmus {

NodeCodec::NodeCodec(const PayloadFormat& format, const BlockTransform& transform,
                     bool daemons_run_it, float decay, size_t blocks)
    : format_(format),
      transform_(transform),
      decay_(decay),
      length_(blocks * format.chunk_size),
      momentum_(length_) {
  if (!daemons_run_it || !format.has_indices()) return;  // all of a block: the plain codec
  tiles_ = std::make_unique<TileCodec>(format, DemoDials{decay, 1.0f}, ActiveKernels());
  momentum_.resize(TiledLength(blocks, format.chunk_size));
}

Sent NodeCodec::Step(const PayloadPlace& place, float scale, const std::vector<float>& gradient,
                     Comparison& comparison) {
  Sent sent;
  if (tiles_ != nullptr) {
    std::vector<float> exact;
    tiles_->AccumulateAndExtract(place, scale, gradient, momentum_, &sent.payload, &exact);
  } else {
    AccumulateMomentum(transform_, decay_, scale, gradient, momentum_);
    Extract(format_, place, 1.0f, momentum_, &sent.payload);
  }
  const auto said = DecodePayload(std::as_bytes(std::span(sent.payload)), format_, place);
  if (said.ok()) {
    sent.said = *said;
  } else {
    comparison.Fail(said.status().ToString());
  }
  return sent;
}

std::vector<float> NodeCodec::Momentum() const {
  if (tiles_ == nullptr) return momentum_;
  const size_t size = format_.chunk_size;
  std::vector<float> rows(length_);
  for (size_t i = 0; i < length_; ++i) {
    const size_t chunk = i / size;
    rows[i] = momentum_[chunk / kTileChunks * kTileChunks * size + i % size * kTileChunks +
                        chunk % kTileChunks];
  }
  return rows;
}

}  // namespace isthmus
