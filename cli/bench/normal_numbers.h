// Numbers to measure with.
#ifndef ISTHMUS_CLI_BENCH_NORMAL_NUMBERS_H_
#define ISTHMUS_CLI_BENCH_NORMAL_NUMBERS_H_

#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "common/base/rng.h"

namespace isthmus {

// Normally distributed (Box and Muller), the same on every machine but for libm.
inline void FillNormal(uint64_t seed, std::vector<float>& out) {
  Rng rng(seed);
  for (size_t i = 0; i + 1 < out.size(); i += 2) {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - rng.Uniform()));
    const double angle = 2.0 * std::numbers::pi * rng.Uniform();
    out[i] = static_cast<float>(radius * std::cos(angle));
    out[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
}

}  // namespace isthmus

#endif  // ISTHMUS_CLI_BENCH_NORMAL_NUMBERS_H_
