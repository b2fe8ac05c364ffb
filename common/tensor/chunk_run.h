// A run of chunks of the flat vector's grid (docs/protocol.md, P2).
#ifndef ISTHMUS_COMMON_TENSOR_CHUNK_RUN_H_
#define ISTHMUS_COMMON_TENSOR_CHUNK_RUN_H_

#include <compare>
#include <cstdint>

#include "common/base/check.h"
#include "common/tensor/extent.h"

namespace isthmus {

// Chunks [first, first + count).
struct ChunkRun {
  uint64_t first = 0;
  uint64_t count = 0;
  uint64_t end() const { return first + count; }
  // True if `part` is not empty and lies within. No numbers that a peer may send overflow.
  bool Holds(const ChunkRun& part) const {
    return part.count > 0 && part.first >= first && part.first < end() &&
           part.count <= end() - part.first;
  }
  friend auto operator<=>(const ChunkRun&, const ChunkRun&) = default;
};

// The chunks of `elements`, which begins and ends at borders of chunks.
inline ChunkRun ChunksOf(const Extent& elements, uint32_t chunk_size) {
  ISTHMUS_CHECK(elements.begin % chunk_size == 0 && elements.end % chunk_size == 0);
  return {elements.begin / chunk_size, elements.size() / chunk_size};
}

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_TENSOR_CHUNK_RUN_H_
