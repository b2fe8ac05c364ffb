// Top-k selection: keeps the k largest-magnitude DCT coefficients per chunk. The lossy half of
// extraction; the transform is in dct.h. By bisection; naively, by a sort: naive::Largest of
// common/kernels/naive_select.h, which topk_test.cc compares.
//
// Source: DeMo (arXiv:2411.19870v2), top-k sparsification.
#ifndef ISTHMUS_COMMON_COMPRESSION_TOPK_H_
#define ISTHMUS_COMMON_COMPRESSION_TOPK_H_

#include <cstdint>
#include <span>

namespace isthmus {

inline constexpr int kMaxBlockSize = 65536;

// Reads `coeffs`, [num_chunks, chunk_size], finite. Writes `indices` and `values`, each
// [num_chunks, k]. Indices are offsets within the chunk, ascending; ties keep the lower index, so
// every device picks the same set. CHECKs 0 < k <= chunk_size <= 65536 and that the lengths agree.
// Thread-safe; no allocation.
void SelectTopK(std::span<const float> coeffs, int chunk_size, int k, std::span<uint16_t> indices,
                std::span<float> values);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_TOPK_H_
