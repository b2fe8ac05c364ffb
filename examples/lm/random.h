// A counter-based generator: the value at (key, index) is a function of both and nothing else, so
// any rank can draw its own numbers without having drawn the others'.
#ifndef ISTHMUS_EXAMPLES_LM_RANDOM_H_
#define ISTHMUS_EXAMPLES_LM_RANDOM_H_

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <numbers>

namespace isthmus::lm {

class CounterRng {
 public:
  // Keys that differ in any word, or in their number of words, give unrelated streams.
  explicit CounterRng(std::initializer_list<uint64_t> key) {
    for (uint64_t word : key) state_ = Mix(state_ ^ Mix(word + kGamma)) + kGamma;
  }

  uint64_t Bits(uint64_t index) const { return Mix(state_ + (index + 1) * kGamma); }

  // In (0, 1): both ends excluded, so that a logarithm is finite.
  double Uniform(uint64_t index) const {
    return (static_cast<double>(Bits(index) >> 11) + 0.5) * 0x1p-53;
  }

  // Mean 0, deviation 1 (Box-Muller).
  double Normal(uint64_t index) const {
    const double radius = std::sqrt(-2.0 * std::log(Uniform(2 * index)));
    return radius * std::cos(2.0 * std::numbers::pi * Uniform(2 * index + 1));
  }

 private:
  // splitmix64's increment and finaliser.
  static constexpr uint64_t kGamma = 0x9e3779b97f4a7c15;
  static uint64_t Mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  uint64_t state_ = 0;
};

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_RANDOM_H_
