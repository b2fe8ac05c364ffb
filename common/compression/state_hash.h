// The state hash that replicas compare (docs/protocol.md, P22).
#ifndef ISTHMUS_COMMON_COMPRESSION_STATE_HASH_H_
#define ISTHMUS_COMMON_COMPRESSION_STATE_HASH_H_

#include <cstdint>
#include <span>
#include <string>

namespace isthmus {

// Sum over i of mix64(mix64(begin + i) ^ bits(parameters[i])) mod 2^64, where `begin` is the flat
// index of the first element. Sums of parts add up to the hash of the whole. Thread-safe.
uint64_t StateHash(uint64_t begin, std::span<const float> parameters);

// 16 lower-case hex digits.
std::string StateHashText(uint64_t hash);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_COMPRESSION_STATE_HASH_H_
