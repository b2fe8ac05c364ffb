// Causal multi-head attention between the query, key and value columns of one matrix.
#ifndef ISTHMUS_EXAMPLES_LM_ATTENTION_H_
#define ISTHMUS_EXAMPLES_LM_ATTENTION_H_

#include <cstdint>

namespace isthmus::lm {

// The extents of one batch inside a block.
struct BlockShape {
  int batch;   // sequences
  int length;  // positions of each
  int width;   // of the residual stream
  int heads;   // a divisor of width

  int rows() const { return batch * length; }
  int head_width() const { return width / heads; }
  int64_t weights() const { return int64_t{batch} * heads * length * length; }
};

// `qkv` is [rows, 3 * width]: queries, keys, values, each head by head. Writes `weights`
// [batch, heads, length, length], zero above the diagonal, and `mixed` [rows, width].
template <typename T>
void AttentionForward(const BlockShape& shape, const T* qkv, T* weights, T* mixed);

// From d_mixed[rows, width]: overwrites d_qkv[rows, 3 * width]. `scratch` is [length, length].
template <typename T>
void AttentionBackward(const BlockShape& shape, const T* qkv, const T* weights, const T* d_mixed,
                       T* d_qkv, T* scratch);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_ATTENTION_H_
