#include "common/exchange/state_image.h"

#include <gtest/gtest.h>

#include <set>

#include "common/run/update.h"

namespace isthmus {
namespace {

TEST(StateImageTest, AStateIsCutIntoAtMost4096Blocks) {
  for (const uint64_t bytes : {uint64_t{1}, kFrameBytes, kFrameBytes + 1, 4096 * kFrameBytes,
                               4096 * kFrameBytes + 1, uint64_t{12} << 30, uint64_t{1} << 45}) {
    EXPECT_EQ(StateBlockBytes(bytes) % kFrameBytes, 0u) << bytes;
    EXPECT_LE(StateBlockCount(bytes), kMaxStateBlocks) << bytes;
    EXPECT_GE(StateBlockCount(bytes) * StateBlockBytes(bytes), bytes);
    EXPECT_LT((StateBlockCount(bytes) - 1) * StateBlockBytes(bytes), bytes);
  }
  EXPECT_EQ(StateBlockBytes(4096 * kFrameBytes), kFrameBytes);
  EXPECT_EQ(StateBlockBytes(4096 * kFrameBytes + 1), 2 * kFrameBytes);
}

// Sites of other versions and machines must find the same.
TEST(StateImageTest, HashesNeverChange) {
  EXPECT_EQ(BlockHash(""), 0x0000000000000000u);
  EXPECT_EQ(BlockHash("isthmus: one model, several sites"), 0xbac48d342cba9ee3u);
  EXPECT_EQ(StateHashOf({1, 2, 3}), 0x74162b1d3416d5d0u);
}

TEST(StateImageTest, EveryBitOfABlockCounts) {
  std::set<uint64_t> seen;
  for (uint64_t size = 0; size < 20; ++size)
    EXPECT_TRUE(seen.insert(BlockHash(std::string(size, '\0'))).second);
  for (uint64_t bit = 0; bit < 19 * 8; ++bit) {
    std::string block(19, '\0');
    block[bit / 8] = static_cast<char>(1 << bit % 8);
    EXPECT_TRUE(seen.insert(BlockHash(block)).second) << bit;
  }
}

TEST(StateImageTest, BlocksAreHashedByThemselves) {
  std::string state(3 * kFrameBytes + 1, 'a');
  const auto before = HashBlocks(state);
  ASSERT_EQ(before.size(), 4u);
  EXPECT_EQ(before[0], before[1]);
  EXPECT_NE(before[2], before[3]);
  state[kFrameBytes] = 'b';
  const auto after = HashBlocks(state);
  EXPECT_NE(after[1], before[1]);
  EXPECT_EQ(after[0], before[0]);
  EXPECT_EQ(after[3], before[3]);
  EXPECT_NE(StateHashOf(after), StateHashOf(before));
}

TEST(StateImageTest, ManyBlocksHaveTheHashesOfEach) {
  std::string state(9 * kFrameBytes + 13, '\0');
  for (size_t i = 0; i < state.size(); ++i) state[i] = static_cast<char>(i * i >> 7);
  const auto hashes = HashBlocks(state);
  ASSERT_EQ(hashes.size(), 10u);
  for (size_t b = 0; b < hashes.size(); ++b) {
    const auto block = std::string_view(state).substr(b * kFrameBytes, kFrameBytes);
    EXPECT_EQ(hashes[b], BlockHash(block)) << b;
  }
}

}  // namespace
}  // namespace isthmus
