#include "examples/lm/block.h"

#include <cstdint>

#include "examples/lm/gelu.h"
#include "examples/lm/layer_norm.h"
#include "examples/lm/linear.h"

namespace isthmus::lm {
namespace {

size_t Elements(const BlockShape& shape, int columns) {
  return static_cast<size_t>(shape.rows()) * columns;
}

}  // namespace

template <typename T>
BlockActivations<T>::BlockActivations(const BlockShape& largest)
    : input(Elements(largest, largest.width)),
      mean1(Elements(largest, 1)),
      deviation1(Elements(largest, 1)),
      norm1(Elements(largest, largest.width)),
      qkv(Elements(largest, 3 * largest.width)),
      weights(largest.weights()),
      mixed(Elements(largest, largest.width)),
      middle(Elements(largest, largest.width)),
      mean2(Elements(largest, 1)),
      deviation2(Elements(largest, 1)),
      norm2(Elements(largest, largest.width)),
      hidden(Elements(largest, 4 * largest.width)),
      activated(Elements(largest, 4 * largest.width)) {}

template <typename T>
BlockScratch<T>::BlockScratch(const BlockShape& largest)
    : narrow(Elements(largest, largest.width)),
      wide(Elements(largest, 4 * largest.width)),
      scores(static_cast<size_t>(largest.length) * largest.length) {}

template <typename T>
void BlockForward(const BlockShape& shape, const BlockTensors<const T>& p, BlockActivations<T>* a,
                  T* output) {
  const int rows = shape.rows();
  const int width = shape.width;
  LayerNormForward(rows, width, a->input.data(), p.norm1_gain, p.norm1_bias, a->mean1.data(),
                   a->deviation1.data(), a->norm1.data());
  LinearForward<T>({rows, width, 3 * width}, a->norm1.data(), p.qkv_weight, p.qkv_bias, nullptr,
                   a->qkv.data());
  AttentionForward(shape, a->qkv.data(), a->weights.data(), a->mixed.data());
  LinearForward<T>({rows, width, width}, a->mixed.data(), p.mix_weight, p.mix_bias, a->input.data(),
                   a->middle.data());
  LayerNormForward(rows, width, a->middle.data(), p.norm2_gain, p.norm2_bias, a->mean2.data(),
                   a->deviation2.data(), a->norm2.data());
  LinearForward<T>({rows, width, 4 * width}, a->norm2.data(), p.up_weight, p.up_bias, nullptr,
                   a->hidden.data());
  GeluForward(int64_t{rows} * 4 * width, a->hidden.data(), a->activated.data());
  LinearForward<T>({rows, 4 * width, width}, a->activated.data(), p.down_weight, p.down_bias,
                   a->middle.data(), output);
}

template <typename T>
void BlockBackward(const BlockShape& shape, const BlockTensors<const T>& p,
                   const BlockActivations<T>& a, const BlockTensors<T>& g, BlockScratch<T>* scratch,
                   T* d) {
  const int rows = shape.rows();
  const int width = shape.width;
  T* narrow = scratch->narrow.data();
  T* wide = scratch->wide.data();
  LinearBackward<T>({rows, 4 * width, width}, a.activated.data(), p.down_weight, d, wide,
                    g.down_weight, g.down_bias);
  GeluBackward(int64_t{rows} * 4 * width, a.hidden.data(), wide);
  LinearBackward<T>({rows, width, 4 * width}, a.norm2.data(), p.up_weight, wide, narrow,
                    g.up_weight, g.up_bias);
  LayerNormBackward<T>(rows, width, a.middle.data(), p.norm2_gain, a.mean2.data(),
                       a.deviation2.data(), narrow, d, g.norm2_gain, g.norm2_bias);
  LinearBackward<T>({rows, width, width}, a.mixed.data(), p.mix_weight, d, narrow, g.mix_weight,
                    g.mix_bias);
  AttentionBackward<T>(shape, a.qkv.data(), a.weights.data(), narrow, wide, scratch->scores.data());
  LinearBackward<T>({rows, width, 3 * width}, a.norm1.data(), p.qkv_weight, wide, narrow,
                    g.qkv_weight, g.qkv_bias);
  LayerNormBackward<T>(rows, width, a.input.data(), p.norm1_gain, a.mean1.data(),
                       a.deviation1.data(), narrow, d, g.norm1_gain, g.norm1_bias);
}

template struct BlockActivations<float>;
template struct BlockActivations<double>;
template struct BlockScratch<float>;
template struct BlockScratch<double>;
template void BlockForward(const BlockShape&, const BlockTensors<const float>&,
                           BlockActivations<float>*, float*);
template void BlockForward(const BlockShape&, const BlockTensors<const double>&,
                           BlockActivations<double>*, double*);
template void BlockBackward(const BlockShape&, const BlockTensors<const float>&,
                            const BlockActivations<float>&, const BlockTensors<float>&,
                            BlockScratch<float>*, float*);
template void BlockBackward(const BlockShape&, const BlockTensors<const double>&,
                            const BlockActivations<double>&, const BlockTensors<double>&,
                            BlockScratch<double>*, double*);

}  // namespace isthmus::lm
