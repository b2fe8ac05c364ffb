// Layer normalisation of each row: y = (x - mean) / sqrt(variance + 1e-5) * gain + bias.
#ifndef ISTHMUS_EXAMPLES_LM_LAYER_NORM_H_
#define ISTHMUS_EXAMPLES_LM_LAYER_NORM_H_

namespace isthmus::lm {

// x and y are [rows, width]; `mean` and `inverse_deviation`, [rows], are kept for the way back.
template <typename T>
void LayerNormForward(int rows, int width, const T* x, const T* gain, const T* bias, T* mean,
                      T* inverse_deviation, T* y);

// From dy[rows, width]: adds to dx, which already holds the gradient of the residual path, and
// overwrites d_gain and d_bias.
template <typename T>
void LayerNormBackward(int rows, int width, const T* x, const T* gain, const T* mean,
                       const T* inverse_deviation, const T* dy, T* dx, T* d_gain, T* d_bias);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_LAYER_NORM_H_
