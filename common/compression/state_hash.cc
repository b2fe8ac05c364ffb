#include "common/compression/state_hash.h"

#include <absl/strings/str_format.h>

#include <bit>

#include "common/base/rng.h"

namespace isthmus {

uint64_t StateHash(uint64_t begin, std::span<const float> parameters) {
  uint64_t sum = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    sum += Mix64(Mix64(begin + i) ^ std::bit_cast<uint32_t>(parameters[i]));
  }
  return sum;
}

std::string StateHashText(uint64_t hash) { return absl::StrFormat("%016x", hash); }

}  // namespace isthmus
