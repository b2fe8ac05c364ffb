// One transformer block: x + attention(norm(x)), then + mlp(norm(.)), forward and backward over a
// whole batch.
#ifndef ISTHMUS_EXAMPLES_LM_BLOCK_H_
#define ISTHMUS_EXAMPLES_LM_BLOCK_H_

#include <vector>

#include "examples/lm/attention.h"

namespace isthmus::lm {

// The block's tensors (T const for parameters, T for gradients), in the order of tensors.h.
template <typename T>
struct BlockTensors {
  T* norm1_gain;
  T* norm1_bias;
  T* qkv_weight;
  T* qkv_bias;
  T* mix_weight;
  T* mix_bias;
  T* norm2_gain;
  T* norm2_bias;
  T* up_weight;
  T* up_bias;
  T* down_weight;
  T* down_bias;
};

// What the way back needs of the way forward, for the largest shape.
template <typename T>
struct BlockActivations {
  explicit BlockActivations(const BlockShape& largest);

  std::vector<T> input;  // [rows, width]; the caller fills it
  std::vector<T> mean1, deviation1, norm1;
  std::vector<T> qkv, weights, mixed;
  std::vector<T> middle;  // after the attention's residual
  std::vector<T> mean2, deviation2, norm2;
  std::vector<T> hidden, activated;  // [rows, 4 * width]
};

// Gradients on their way through a block; one set serves all blocks.
template <typename T>
struct BlockScratch {
  explicit BlockScratch(const BlockShape& largest);

  std::vector<T> narrow;  // [rows, width]
  std::vector<T> wide;    // [rows, 4 * width]
  std::vector<T> scores;  // [length, length]
};

// Reads a->input, writes output[rows, width].
template <typename T>
void BlockForward(const BlockShape& shape, const BlockTensors<const T>& parameters,
                  BlockActivations<T>* a, T* output);

// `d`, [rows, width], holds the gradient at the output, and at the input afterwards. Overwrites
// every tensor of `gradients`.
template <typename T>
void BlockBackward(const BlockShape& shape, const BlockTensors<const T>& parameters,
                   const BlockActivations<T>& a, const BlockTensors<T>& gradients,
                   BlockScratch<T>* scratch, T* d);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_BLOCK_H_
