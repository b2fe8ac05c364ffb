// Selection by every available set of kernels against a sort, ties to the lower element.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

// The masks of the first `chunks` lanes, by sorting whole chunks once for all k.
class Sorted {
 public:
  Sorted(int chunk_size, const std::vector<float>& tile) : size_(static_cast<size_t>(chunk_size)) {
    for (size_t chunk = 0; chunk < kTileChunks; ++chunk) {
      std::vector<size_t>& order = orders_.emplace_back(size_);
      std::iota(order.begin(), order.end(), size_t{0});
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return std::abs(tile[a * kTileChunks + chunk]) > std::abs(tile[b * kTileChunks + chunk]);
      });
    }
  }
  std::vector<uint32_t> Masks(int k, int chunks) const {
    std::vector<uint32_t> masks((size_ + 31) / 32 * kTileChunks);
    for (size_t chunk = 0; chunk < static_cast<size_t>(chunks); ++chunk) {
      for (size_t i = 0; i < static_cast<size_t>(k); ++i) {
        const size_t element = orders_[chunk][i];
        masks[element / 32 * kTileChunks + chunk] |= 1u << (element % 32);
      }
    }
    return Lanes(masks, chunks);
  }

 private:
  const size_t size_;
  std::vector<std::vector<size_t>> orders_;
};

std::vector<uint32_t> SelectedBy(const TileKernels& kernels, int size, int k,
                                 const std::vector<float>& tile, int chunks) {
  std::vector<uint32_t> masks(static_cast<size_t>(MaskWords(size)) * kTileChunks, 0x5a5a5a5au);
  kernels.select(size, k, tile.data(), chunks, masks.data());
  return Lanes(masks, chunks);
}

class SelectKernelsTest : public testing::TestWithParam<const TileKernels*> {};

TEST_P(SelectKernelsTest, P21_EqualsASortForEveryKAndPartialTile) {
  Rng rng(6);
  for (int size : kChunkSizes) {
    for (int chunks = 1; chunks <= kTileChunks; ++chunks) {
      const std::vector<float> tile = AdversarialTile(rng, size);
      const Sorted sorted(size, tile);
      for (int k : {1, 2, 3, 4, 7, 8, 9, 16, 32, 63, size - 1}) {
        if (k >= size) continue;
        if (size > 256 && k > 8 && chunks % 5 != 1) continue;  // bisection: slow, and all alike
        ASSERT_EQ(SelectedBy(*GetParam(), size, k, tile, chunks), sorted.Masks(k, chunks))
            << size << "/" << k << " x " << chunks;
      }
    }
  }
}

TEST_P(SelectKernelsTest, LowerElementsWinTies) {
  Rng rng(7);
  for (int trial = 0; trial < 300; ++trial) {
    const int size = 16 << rng.Below(3);
    std::vector<float> tile(static_cast<size_t>(size) * kTileChunks);
    const uint64_t levels = 1 + rng.Below(4);
    for (float& x : tile) {
      x = static_cast<float>(rng.Below(levels)) * (rng.Chance(0.5) ? 1.0f : -1.0f);
    }
    const Sorted sorted(size, tile);
    const int k = 1 + static_cast<int>(rng.Below(static_cast<uint64_t>(size) - 1));
    ASSERT_EQ(SelectedBy(*GetParam(), size, k, tile, kTileChunks), sorted.Masks(k, kTileChunks))
        << size << "/" << k;
  }
}

// "Lanes that nobody looks at" may hold anything, and must neither be waited for nor matter.
TEST_P(SelectKernelsTest, EmptyLanesMayHoldAnything) {
  Rng rng(8);
  for (int k : {1, 4, 8, 9, 40}) {
    std::vector<float> tile = AdversarialTile(rng, 64);
    const Sorted sorted(64, tile);
    for (size_t i = 0; i < tile.size(); ++i) {
      if (i % kTileChunks >= 5) {
        tile[i] = std::bit_cast<float>(static_cast<uint32_t>(rng() | 0x7f800000u));
      }
    }
    ASSERT_EQ(SelectedBy(*GetParam(), 64, k, tile, 5), sorted.Masks(k, 5)) << k;
  }
}

INSTANTIATE_TEST_SUITE_P(All, SelectKernelsTest, testing::ValuesIn(AvailableKernels()),
                         [](const auto& set) { return std::string(set.param->name); });

}  // namespace
}  // namespace isthmus
