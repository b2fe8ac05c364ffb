// How a payload lies in bytes (payload.h): what its writing and its reading share.
#ifndef ISTHMUS_COMMON_COMPRESSION_PAYLOAD_LAYOUT_H_
#define ISTHMUS_COMMON_COMPRESSION_PAYLOAD_LAYOUT_H_

#include <cstddef>
#include <cstdint>

#include "common/compression/index_coding.h"
#include "common/compression/payload.h"

namespace isthmus {

inline constexpr uint16_t kPayloadMagic = 0x4349;  // "IC"
inline constexpr uint8_t kPayloadVersion = 3;
inline constexpr uint64_t kPayloadHeaderBytes = 34;
inline constexpr uint64_t kPayloadCrcOffset = kPayloadHeaderBytes - sizeof(uint32_t);

int ScaleBits(ValueFormat values);

// Of a block: a scale, then kBlock values. Whole bytes.
uint64_t BlockBits(ValueFormat values);

// Null where no indices are sent.
const IndexCoder* CoderOf(const PayloadFormat& format);
uint8_t CodingOf(const IndexCoder* coder);
uint64_t RecordBits(const PayloadFormat& format, const IndexCoder* coder);

// HasSignTiles(format), of which `coder` is the CoderOf().
bool HasSignTiles(const PayloadFormat& format, const IndexCoder* coder);

// The format is ours, from the run spec: never a peer's.
void CheckFormat(const PayloadFormat& format);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_PAYLOAD_LAYOUT_H_
