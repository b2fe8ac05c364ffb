#include "examples/lm/attention.h"

#include <algorithm>
#include <cmath>

#include "examples/lm/gemm.h"
#include "examples/lm/vector_math.h"

namespace isthmus::lm {
namespace {

// Where one head of one sequence starts in the matrices of the whole batch.
struct HeadOffsets {
  HeadOffsets(const BlockShape& shape, int sequence, int head)
      : qkv(int64_t{sequence} * shape.length * 3 * shape.width + head * shape.head_width()),
        mixed(int64_t{sequence} * shape.length * shape.width + head * shape.head_width()),
        weights((int64_t{sequence} * shape.heads + head) * shape.length * shape.length) {}
  int64_t qkv;
  int64_t mixed;
  int64_t weights;
};

template <typename T>
T ScoreScale(const BlockShape& shape) {
  return T(1) / std::sqrt(T(shape.head_width()));
}

template <typename T>
void HeadForward(const BlockShape& shape, const T* q, T* weights, T* mixed) {
  const int length = shape.length;
  const int size = shape.head_width();
  const int stride = 3 * shape.width;
  const T* k = q + shape.width;
  const T* v = k + shape.width;
  Gemm(length, length, size, ScoreScale<T>(shape), {q, stride}, {k, stride, Transpose::kYes}, T(0),
       weights, length);
  for (int t = 0; t < length; ++t) {
    T* row = weights + int64_t{t} * length;
    Softmax(row, t + 1);
    std::fill(row + t + 1, row + length, T(0));
  }
  Gemm(length, size, length, T(1), {weights, length}, {v, stride}, T(0), mixed, shape.width);
}

template <typename T>
void HeadBackward(const BlockShape& shape, const T* q, const T* weights, const T* d_mixed, T* dq,
                  T* d_scores) {
  const int length = shape.length;
  const int size = shape.head_width();
  const int stride = 3 * shape.width;
  const T* k = q + shape.width;
  const T* v = k + shape.width;
  T* dk = dq + shape.width;
  T* dv = dk + shape.width;
  Gemm(length, size, length, T(1), {weights, length, Transpose::kYes}, {d_mixed, shape.width}, T(0),
       dv, stride);
  Gemm(length, length, size, T(1), {d_mixed, shape.width}, {v, stride, Transpose::kYes}, T(0),
       d_scores, length);
  for (int t = 0; t < length; ++t) {
    const T* w = weights + int64_t{t} * length;
    T* d = d_scores + int64_t{t} * length;
    const T dot = LaneSum<T>(t + 1, [w, d](int64_t i) { return w[i] * d[i]; });
    for (int i = 0; i <= t; ++i) d[i] = w[i] * (d[i] - dot);
    std::fill(d + t + 1, d + length, T(0));
  }
  const T scale = ScoreScale<T>(shape);
  Gemm(length, size, length, scale, {d_scores, length}, {k, stride}, T(0), dq, stride);
  Gemm(length, size, length, scale, {d_scores, length, Transpose::kYes}, {q, stride}, T(0), dk,
       stride);
}

}  // namespace

template <typename T>
void AttentionForward(const BlockShape& shape, const T* qkv, T* weights, T* mixed) {
  for (int sequence = 0; sequence < shape.batch; ++sequence) {
    for (int head = 0; head < shape.heads; ++head) {
      const HeadOffsets at(shape, sequence, head);
      HeadForward(shape, qkv + at.qkv, weights + at.weights, mixed + at.mixed);
    }
  }
}

template <typename T>
void AttentionBackward(const BlockShape& shape, const T* qkv, const T* weights, const T* d_mixed,
                       T* d_qkv, T* scratch) {
  for (int sequence = 0; sequence < shape.batch; ++sequence) {
    for (int head = 0; head < shape.heads; ++head) {
      const HeadOffsets at(shape, sequence, head);
      HeadBackward(shape, qkv + at.qkv, weights + at.weights, d_mixed + at.mixed, d_qkv + at.qkv,
                   scratch);
    }
  }
}

template void AttentionForward(const BlockShape&, const float*, float*, float*);
template void AttentionForward(const BlockShape&, const double*, double*, double*);
template void AttentionBackward(const BlockShape&, const float*, const float*, const float*, float*,
                                float*);
template void AttentionBackward(const BlockShape&, const double*, const double*, const double*,
                                double*, double*);

}  // namespace isthmus::lm
