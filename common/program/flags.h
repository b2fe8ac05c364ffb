// Checks of flags, for CLI11's check(): what cannot be is refused where it is read, in the same
// words by every program: "--rounds: expected a whole number from 0 to 10, got '-1'".
//
// CLI11's own numbers take more than people mean: "-1" becomes 2^64 - 1, "010" eight, and what is
// too large the largest. A check says what fits before CLI11 converts.
#ifndef ISTHMUS_COMMON_PROGRAM_FLAGS_H_
#define ISTHMUS_COMMON_PROGRAM_FLAGS_H_

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>

namespace isthmus {

// What is wrong with a flag's value; empty: nothing.
using FlagCheck = std::function<std::string(const std::string& text)>;

inline constexpr uint64_t kMaxUint32 = std::numeric_limits<uint32_t>::max();
inline constexpr uint64_t kMaxUint64 = std::numeric_limits<uint64_t>::max();

// Decimal digits, without sign, blanks or leading zeros, from `min` to `max`.
FlagCheck WholeNumber(uint64_t min, uint64_t max);
// A decimal number that is finite.
FlagCheck FiniteNumber();
// HOST:PORT to listen on, where port 0 means any, or to connect to.
FlagCheck ListenAddress();
FlagCheck DialAddress();
// What stands in tables and logs: up to `max_bytes` of text without control characters.
FlagCheck PrintableText(size_t max_bytes);
// 500ms, 5s, 2m: more than nothing. "off" passes too, and means for ever.
FlagCheck Patience();

// 20mbit: bits per second. "off" passes too, and means no limit.
FlagCheck RateLimit();

// 0.1: a share above nothing and below all. "off" passes too.
FlagCheck Share();

// What a flag says that Share() has let pass; none: off.
std::optional<double> ParseShare(const std::string& text);
// What a flag says that RateLimit() has let pass, in bytes per second; 0: off.
uint64_t ParseRateLimit(const std::string& text);
// What a flag says that Patience() has let pass.
absl::Duration ParsePatience(const std::string& text);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_PROGRAM_FLAGS_H_
