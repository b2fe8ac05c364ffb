// Selection by every available set of kernels against the naive one.
#include <gtest/gtest.h>

#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

std::vector<uint32_t> SelectedBy(const TileKernels& kernels, int size, int k,
                                 const std::vector<float>& tile, int chunks) {
  std::vector<uint32_t> masks(TileWords(size), 0x5a5a5a5au);
  kernels.select(size, k, tile.data(), chunks, masks.data());
  return Lanes(masks, chunks);
}

class SelectKernelsTest : public testing::Test {
 protected:
  // Of every set and every third number of chunks from `least` on, with anything in the other
  // lanes.
  void ExpectNaiveOne(int size, int k, const std::vector<float>& tile, int least) {
    const std::vector<uint32_t> expected = SelectedBy(naive::kKernels, size, k, tile, kTileChunks);
    for (int chunks = least; chunks <= kTileChunks; chunks += 3) {
      const std::vector<float> partial = WithEmptyLanes(rng_, tile, chunks);
      ForEachSet([&](const TileKernels& kernels) {
        ASSERT_EQ(SelectedBy(kernels, size, k, partial, chunks), Lanes(expected, chunks))
            << size << "/" << k << " x " << chunks;
      });
    }
  }

  Rng rng_{6};
};

TEST_F(SelectKernelsTest, P21_IsTheNaiveOneForEveryKAndPartialTile) {
  for (int size : kChunkSizes) {
    const std::vector<float> tile = AdversarialTile(rng_, size);
    int turn = 0;
    for (int k : {1, 2, 3, 4, 7, 8, 9, 16, 32, 63, size - 1}) {
      if (k >= size) continue;
      ASSERT_NO_FATAL_FAILURE(ExpectNaiveOne(size, k, tile, 1 + turn++ % 3));
    }
  }
}

TEST_F(SelectKernelsTest, P21_IsTheNaiveOneInFullTilesOfAnyNumbers) {
  for (int trial = 0; trial < Repetitions(200); ++trial) {
    const int size = 16 << rng_.Below(5);
    const int k = 1 + static_cast<int>(rng_.Below(static_cast<uint64_t>(size) - 1));
    ASSERT_NO_FATAL_FAILURE(ExpectNaiveOne(size, k, AdversarialTile(rng_, size), kTileChunks));
  }
}

TEST_F(SelectKernelsTest, LowerElementsWinTies) {
  for (int trial = 0; trial < Repetitions(300); ++trial) {
    const int size = 16 << rng_.Below(3);
    std::vector<float> tile(static_cast<size_t>(size) * kTileChunks);
    const uint64_t levels = 1 + rng_.Below(4);
    for (float& x : tile) {
      x = static_cast<float>(rng_.Below(levels)) * (rng_.Chance(0.5) ? 1.0f : -1.0f);
    }
    const int k = 1 + static_cast<int>(rng_.Below(static_cast<uint64_t>(size) - 1));
    ASSERT_NO_FATAL_FAILURE(ExpectNaiveOne(size, k, tile, kTileChunks));
  }
}

TEST_F(SelectKernelsTest, TellsTheExtremesOfFloatsApart) {
  for (int size : {16, 64, 128}) {
    std::vector<float> tile(static_cast<size_t>(size) * kTileChunks);
    for (float& x : tile) x = ExtremeNumber(rng_);
    for (int k = 1; k < size; ++k) {
      ASSERT_NO_FATAL_FAILURE(ExpectNaiveOne(size, k, tile, kTileChunks));
    }
  }
}

}  // namespace
}  // namespace isthmus
