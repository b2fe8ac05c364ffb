// Codec blocks [rows, cols] of any lengths, and the cutting of tensors into them (docs/protocol.md,
// P4). Daemons run one row of a power of two; the rest is the reference path that recorded runs of
// other implementations replay on.
#ifndef ISTHMUS_COMMON_COMPRESSION_BLOCK_TRANSFORM_H_
#define ISTHMUS_COMMON_COMPRESSION_BLOCK_TRANSFORM_H_

#include <cstddef>
#include <span>
#include <vector>

namespace isthmus {

// The largest divisor of `length` that is at most `wanted`; both positive.
int BlockLength(int length, int wanted);

// The orthonormal DCT-II along both axes of a block, and its transpose. One row of IsChunkSize()
// goes through dct.h; anything else is a matrix product whose matrices come from libm, so its bits
// are one machine's. Immutable; thread-safe.
class BlockTransform {
 public:
  // CHECKs rows, cols > 0.
  BlockTransform(int rows, int cols);

  size_t block_size() const { return rows_ * cols_; }
  // Transform block by block; lengths are equal and whole blocks. `in` and `out` may be the same
  // memory, but not overlap otherwise.
  void Forward(std::span<const float> in, std::span<float> out) const;
  void Inverse(std::span<const float> in, std::span<float> out) const;

 private:
  size_t rows_;
  size_t cols_;
  bool chunked_;                      // dct.h does it
  std::vector<float> row_matrix_;     // [rows, rows], frequency first; empty if chunked_
  std::vector<float> column_matrix_;  // [cols, cols]
};

// A [rows, cols] tensor cut into [block_rows, block_cols] blocks: row-major over the grid, and
// row-major within a block. A value.
class BlockGrid {
 public:
  // CHECKs that the blocks tile the tensor.
  BlockGrid(int rows, int cols, int block_rows, int block_cols);

  size_t size() const { return rows_ * cols_; }
  size_t block_count() const { return size() / (block_rows_ * block_cols_); }
  // Copy between the tensor's order and the blocks'. Both spans have size() elements, apart.
  void Gather(std::span<const float> tensor, std::span<float> blocks) const;
  void Scatter(std::span<const float> blocks, std::span<float> tensor) const;

 private:
  // Calls visit(tensor offset, blocks offset) for each run of block_cols elements.
  template <typename Visit>
  void ForEachRun(Visit visit) const;

  size_t rows_;
  size_t cols_;
  size_t block_rows_;
  size_t block_cols_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_BLOCK_TRANSFORM_H_
