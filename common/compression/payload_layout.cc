#include "common/compression/payload_layout.h"

#include <bit>

#include "common/base/check.h"
#include "common/compression/bit_stream.h"
#include "common/compression/topk.h"
#include "common/kernels/positions.h"
#include "common/kernels/tile_kernels.h"

namespace isthmus {
namespace {

int StrideBits(const PayloadFormat& format) {
  return std::countr_zero(format.chunk_size / format.k);
}

}  // namespace

int ScaleBits(ValueFormat values) { return HasScale(values) ? 8 : 0; }

static_assert(kScaleBlock == kBlock);

uint64_t BlockBits(ValueFormat values) {
  return static_cast<uint64_t>(ScaleBits(values) + kBlock * ValueBits(values));
}

const IndexCoder* CoderOf(const PayloadFormat& format) {
  return format.has_indices() ? &IndexCoder::For(format.chunk_size, format.k) : nullptr;
}

uint8_t CodingOf(const IndexCoder* coder) {
  return static_cast<uint8_t>(coder == nullptr ? IndexCoding::kNone : coder->coding());
}

uint64_t RecordBits(const PayloadFormat& format, const IndexCoder* coder) {
  if (format.block_scales) return format.chunk_size / kBlock * BlockBits(format.values);
  return static_cast<uint64_t>(coder == nullptr ? 0 : coder->bits()) +
         static_cast<uint64_t>(ScaleBits(format.values)) +
         uint64_t{format.k} * static_cast<uint64_t>(ValueBits(format.values));
}

void CheckFormat(const PayloadFormat& format) {
  ISTHMUS_CHECK(format.chunk_size <= static_cast<uint32_t>(kMaxBlockSize));
  ISTHMUS_CHECK(0 < format.k && format.k <= format.chunk_size);
  ISTHMUS_CHECK(format.positions == Positions::kChosen || format.k == format.chunk_size ||
                HasPositions(format.chunk_size, format.k));
  ISTHMUS_CHECK(!format.block_scales ||
                (format.k == format.chunk_size && format.chunk_size % kBlock == 0 &&
                 HasScale(format.values)));
}

bool HasPositions(uint32_t chunk_size, uint32_t k) {
  return std::has_single_bit(chunk_size) && std::has_single_bit(k) && k < chunk_size;
}

bool HasSignTiles(const PayloadFormat& format) { return HasSignTiles(format, CoderOf(format)); }

bool HasSignTiles(const PayloadFormat& format, const IndexCoder* coder) {
  return coder != nullptr && coder->tables() != nullptr && ValueBits(format.values) == 1 &&
         format.k <= static_cast<uint32_t>(kMaxBitsAtOnce);
}

void KnownPositions(const PayloadFormat& format, uint64_t round, uint64_t chunk,
                    uint16_t* indices) {
  const int stride_bits = StrideBits(format);
  for (uint32_t i = 0; i < format.k; ++i) {
    uint32_t position = i;
    if (format.positions == Positions::kRandom) {
      position = RandomPosition(format.seed, round, chunk, stride_bits, i);
    } else if (format.positions == Positions::kStriding) {
      position = StridingPosition(round, chunk, stride_bits, i);
    } else if (format.positions == Positions::kSlicing) {
      position = SlicingPosition(round, chunk, stride_bits, format.k, i);
    }
    indices[i] = static_cast<uint16_t>(position);
  }
}

uint64_t PayloadBytes(const PayloadFormat& format, uint64_t chunk_count) {
  CheckFormat(format);
  return kPayloadHeaderBytes + BytesForBits(chunk_count * RecordBits(format, CoderOf(format)));
}

uint64_t LargestPayloadBytes(const PayloadFormat& format, uint64_t chunk_count) {
  return PayloadBytes(format, chunk_count) + BytesForBits(chunk_count);
}

}  // namespace isthmus
