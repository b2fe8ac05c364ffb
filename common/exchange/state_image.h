// A group's whole state as bytes, and its blocks by their hashes: who holds a block already is not
// sent it (docs/protocol.md, P15).
#ifndef ISTHMUS_COMMON_EXCHANGE_STATE_IMAGE_H_
#define ISTHMUS_COMMON_EXCHANGE_STATE_IMAGE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isthmus {

// As it crosses the wire: masters, optimizer state vectors (each float32, little-endian, flat
// length), then the packed constants.
struct StateImage {
  std::string bytes;
};

// A state is cut into at most so many blocks, so that the hashes of any fit into one message.
inline constexpr uint64_t kMaxStateBlocks = 4096;

// Bytes of each block but the last, a function of the state's size alone: 64 KiB, or as many times
// that as kMaxStateBlocks ask for.
uint64_t StateBlockBytes(uint64_t state_bytes);
uint64_t StateBlockCount(uint64_t state_bytes);

// 64 bits of any bytes, the same on every machine: h <- mix64(h ^ w) over their little-endian words
// w, the last padded with zeros, begun with mix64 of their number. No defence against who means
// harm: neither is anything else between sites that trust each other's gradients.
uint64_t BlockHash(std::string_view block);
// One per block.
std::vector<uint64_t> HashBlocks(std::string_view state);
// Of the whole, from its blocks'.
uint64_t StateHashOf(const std::vector<uint64_t>& block_hashes);

}  // namespace isthmus

#endif  // ISTHMUS_COMMON_EXCHANGE_STATE_IMAGE_H_
