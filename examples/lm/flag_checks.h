// Checks of flags, for CLI11's check(), in words: "--batch: expected a whole number from 1 to 4096,
// got '0'". Its own conversions take more than people mean: "-1" becomes 2^64 - 1, "010" eight, and
// NaN is in every range.
#ifndef ISTHMUS_EXAMPLES_LM_FLAG_CHECKS_H_
#define ISTHMUS_EXAMPLES_LM_FLAG_CHECKS_H_

#include <cstdint>
#include <functional>
#include <string>

namespace isthmus::lm {

// What is wrong with a flag's value; empty: nothing.
using FlagCheck = std::function<std::string(const std::string& text)>;

// Decimal digits, without sign, blanks or leading zeros, from `min` to `max`.
FlagCheck WholeNumber(uint64_t min, uint64_t max);
// From `min` to `max`, both included.
FlagCheck Number(double min, double max);
// Above 0, at most `max`.
FlagCheck PositiveNumber(double max);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_FLAG_CHECKS_H_
