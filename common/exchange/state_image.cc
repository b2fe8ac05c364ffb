#include "common/exchange/state_image.h"

#include <algorithm>
#include <array>
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

namespace {

using Word = uint64_t;

Word WordAt(std::string_view bytes, uint64_t at) {
  Word word;
  std::memcpy(&word, bytes.data() + at, sizeof(word));
  return word;
}

// Each hash is a chain of multiplications that wait for each other, so that several blocks at once
// take hardly longer than one. `blocks` are of one size.
template <size_t kBlocks>
std::array<uint64_t, kBlocks> BlockHashes(const std::array<std::string_view, kBlocks>& blocks) {
  const uint64_t size = blocks[0].size();
  std::array<uint64_t, kBlocks> hashes;
  hashes.fill(Mix64(size));
  uint64_t at = 0;
  for (; at + sizeof(Word) <= size; at += sizeof(Word)) {
    for (size_t b = 0; b < kBlocks; ++b) hashes[b] = Mix64(hashes[b] ^ WordAt(blocks[b], at));
  }
  if (at == size) return hashes;
  for (size_t b = 0; b < kBlocks; ++b) {
    Word word = 0;
    std::memcpy(&word, blocks[b].data() + at, size - at);
    hashes[b] = Mix64(hashes[b] ^ word);
  }
  return hashes;
}

}  // namespace

uint64_t BlockHash(std::string_view block) { return BlockHashes<1>({block})[0]; }

std::vector<uint64_t> HashBlocks(std::string_view state) {
  constexpr size_t kAtOnce = 4;
  const uint64_t size = StateBlockBytes(state.size());
  std::vector<uint64_t> hashes;
  hashes.reserve(StateBlockCount(state.size()));
  uint64_t at = 0;
  for (; at + kAtOnce * size <= state.size(); at += kAtOnce * size) {
    std::array<std::string_view, kAtOnce> blocks;
    for (size_t b = 0; b < kAtOnce; ++b) blocks[b] = state.substr(at + b * size, size);
    const auto more = BlockHashes(blocks);
    hashes.insert(hashes.end(), more.begin(), more.end());
  }
  for (; at < state.size(); at += size) hashes.push_back(BlockHash(state.substr(at, size)));
  return hashes;
}

uint64_t StateHashOf(const std::vector<uint64_t>& block_hashes) {
  uint64_t hash = Mix64(block_hashes.size());
  for (const uint64_t block : block_hashes) hash = Mix64(hash ^ block);
  return hash;
}

}  // namespace isthmus
