// Rows of chunks to tiles and back, element by element.
#ifndef ISTHMUS_TESTS_COMMON_COMPRESSION_TILES_H_
#define ISTHMUS_TESTS_COMMON_COMPRESSION_TILES_H_

#include <vector>

#include "common/compression/tile_codec.h"
#include "common/kernels/naive_tile.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {

inline size_t InTiles(size_t element, size_t chunk_size) {
  return naive::TilePlace(element / chunk_size, element % chunk_size, chunk_size);
}

inline std::vector<float> ToTiles(const std::vector<float>& rows, uint32_t chunk_size) {
  std::vector<float> tiles(TiledLength(rows.size() / chunk_size, chunk_size));
  for (size_t i = 0; i < rows.size(); ++i) tiles[InTiles(i, chunk_size)] = rows[i];
  return tiles;
}

inline std::vector<float> ToRows(const std::vector<float>& tiles, size_t length,
                                 uint32_t chunk_size) {
  std::vector<float> rows(length);
  for (size_t i = 0; i < length; ++i) rows[i] = tiles[InTiles(i, chunk_size)];
  return rows;
}

}  // namespace isthmus

#endif  // ISTHMUS_TESTS_COMMON_COMPRESSION_TILES_H_
