// A dense layer over a whole batch: y = x W^T + b.
#ifndef ISTHMUS_EXAMPLES_LM_LINEAR_H_
#define ISTHMUS_EXAMPLES_LM_LINEAR_H_

namespace isthmus::lm {

struct LinearShape {
  int rows;  // positions in the batch
  int in;
  int out;
};

// y[rows, out] from x[rows, in], weight[out, in] and bias[out]. A null bias is zero. A `residual`
// [rows, out] is added where given; it may not be y.
template <typename T>
void LinearForward(const LinearShape& shape, const T* x, const T* weight, const T* bias,
                   const T* residual, T* y);

// From dy[rows, out]: overwrites dx[rows, in], d_weight and, unless null, d_bias.
template <typename T>
void LinearBackward(const LinearShape& shape, const T* x, const T* weight, const T* dy, T* dx,
                    T* d_weight, T* d_bias);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_LINEAR_H_
