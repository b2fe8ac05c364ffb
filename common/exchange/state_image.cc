#include "common/exchange/state_image.h"

#include <algorithm>
#include <cstring>

#include "common/base/mix64.h"
#include "common/run/update.h"

namespace isthmus {

uint64_t StateBlockBytes(uint64_t state_bytes) {
  const uint64_t most_bytes = kMaxStateBlocks * kFrameBytes;  // of blocks of one frame
  return kFrameBytes * std::max<uint64_t>(1, (state_bytes + most_bytes - 1) / most_bytes);
}

uint64_t StateBlockCount(uint64_t state_bytes) {
  const uint64_t block = StateBlockBytes(state_bytes);
  return (state_bytes + block - 1) / block;
}

uint64_t BlockHash(std::string_view block) {
  uint64_t hash = Mix64(block.size());
  uint64_t word = 0;
  while (block.size() >= sizeof(word)) {
    std::memcpy(&word, block.data(), sizeof(word));
    hash = Mix64(hash ^ word);
    block.remove_prefix(sizeof(word));
  }
  if (block.empty()) return hash;
  word = 0;
  std::memcpy(&word, block.data(), block.size());
  return Mix64(hash ^ word);
}

std::vector<uint64_t> HashBlocks(std::string_view state) {
  const uint64_t size = StateBlockBytes(state.size());
  std::vector<uint64_t> hashes;
  for (uint64_t at = 0; at < state.size(); at += size) {
    hashes.push_back(BlockHash(state.substr(at, size)));
  }
  return hashes;
}

uint64_t StateHashOf(const std::vector<uint64_t>& block_hashes) {
  uint64_t hash = Mix64(block_hashes.size());
  for (const uint64_t block : block_hashes) hash = Mix64(hash ^ block);
  return hash;
}

}  // namespace isthmus
