// What flat_kernels.h does to every element, naively; each operation is rounded once.
#ifndef ISTHMUS_COMMON_KERNELS_NAIVE_FLAT_H_
#define ISTHMUS_COMMON_KERNELS_NAIVE_FLAT_H_

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace isthmus::naive {

// Momentum, of coefficients or of gradients as they are (docs/protocol.md, P17).
inline float Accumulated(float decay, float momentum, float scale, float gradient) {
  return decay * momentum + scale * gradient;
}

// A parameter after a step of SGD.
inline float Stepped(float decay, float parameter, float lr, float direction) {
  return decay * parameter - lr * direction;
}

// How far a job has gone from what it was given, and whether that is a number to go on with
// (docs/protocol.md, P29, P18).
inline float Progress(float weight, float given, float now) { return weight * (given - now); }
inline bool Usable(float most, float x) { return std::fabs(x) <= most; }

// Of the values that `count` groups sent, given their sum; never -0 (docs/protocol.md, P10).
inline float Mean(float sum, float count) {
  const float mean = count > 1.0f ? sum / count : sum;
  return mean == 0.0f ? 0.0f : mean;
}

// Of an element of the direction; no number is none.
inline float Sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f; }

// The i-th sign of an update in sign mode (docs/protocol.md, P20).
inline float SignOfBit(const uint8_t* bits, size_t i) {
  return (bits[i / 8] >> (i % 8) & 1) != 0 ? -1.0f : 1.0f;
}

}  // namespace isthmus::naive

#endif  // ISTHMUS_COMMON_KERNELS_NAIVE_FLAT_H_
