// Checks of flags, for CLI11, in words: "--batch: expected a whole number from 1 to 4096, got '0'".
// Its own conversions take more than people mean: "-1" becomes 2^64 - 1, "010" eight, and NaN is in
// every range.
#ifndef ISTHMUS_EXAMPLES_LM_FLAG_CHECKS_H_
#define ISTHMUS_EXAMPLES_LM_FLAG_CHECKS_H_

#include <cstdint>

#include "CLI/CLI.hpp"

namespace isthmus::lm {

// Decimal digits, without sign, blanks or leading zeros, from `min` to `max`.
CLI::Validator WholeNumber(uint64_t min, uint64_t max);
// From `min` to `max`, both included.
CLI::Validator Number(double min, double max);
// Above 0, at most `max`.
CLI::Validator PositiveNumber(double max);

}  // namespace isthmus::lm

#endif  // ISTHMUS_EXAMPLES_LM_FLAG_CHECKS_H_
