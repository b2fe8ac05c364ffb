// Seeded randomness, the same on every machine. Pass one in; log its seed.
#ifndef ISTHMUS_COMMON_BASE_RNG_H_
#define ISTHMUS_COMMON_BASE_RNG_H_

#include <cstdint>

#include "common/base/mix64.h"

namespace isthmus {

// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
// Thread-compatible. A UniformRandomBitGenerator.
class Rng {
 public:
  using result_type = uint64_t;
  constexpr explicit Rng(uint64_t seed) : state_(seed) {}
  constexpr uint64_t operator()() { return Mix64(state_ += 0x9e3779b97f4a7c15ULL); }
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return ~uint64_t{0}; }
  // Uniform in [0, bound); bound > 0.
  constexpr uint64_t Below(uint64_t bound) {
    return static_cast<uint64_t>((static_cast<Wide>((*this)()) * bound) >> 64);
  }
  // Uniform in [0, 1).
  constexpr double Uniform() { return static_cast<double>((*this)() >> 11) * 0x1.0p-53; }
  constexpr bool Chance(double probability) { return Uniform() < probability; }

 private:
  __extension__ using Wide = unsigned __int128;
  uint64_t state_;
};

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_BASE_RNG_H_
