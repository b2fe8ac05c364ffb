// The naive set of kernels is whole. (What it computes is checked beside the sets that it is to be
// equal to: transform_kernels_test.cc, subset_kernels_test.cc.)
#include "common/kernels/naive_kernels.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

namespace isthmus {
namespace {

// The compiler lets a field be left out: a new kernel has its naive version all the same.
TEST(NaiveKernelsTest, HasEveryEntry) {
  const auto entries =
      std::bit_cast<std::array<uintptr_t, sizeof(TileKernels) / sizeof(uintptr_t)>>(
          naive::kKernels);
  for (size_t i = 0; i < entries.size(); ++i) EXPECT_NE(entries[i], 0u) << "entry " << i;
}

TEST(NaiveKernelsTest, TilesAndMasksHaveAPlaceForEveryElement) {
  for (size_t size : {16u, 64u, 4096u}) {
    std::vector<bool> taken(2 * kTileChunks * size);
    std::vector<uint32_t> masks(static_cast<size_t>(MaskWords(static_cast<int>(size))) *
                                kTileChunks);
    for (size_t chunk = 0; chunk < 2 * kTileChunks; ++chunk) {
      for (size_t i = 0; i < size; ++i) {
        const size_t place = naive::TilePlace(chunk, i, size);
        ASSERT_LT(place, taken.size());
        ASSERT_FALSE(taken[place]);
        taken[place] = true;
      }
    }
    for (size_t chunk = 0; chunk < kTileChunks; ++chunk) {
      naive::Elements set(size);
      for (size_t i = chunk; i < size; i += 3) set[i] = true;
      naive::WriteMask(set, chunk, masks.data());
    }
    for (size_t chunk = 0; chunk < kTileChunks; ++chunk) {
      const naive::Elements set = naive::ReadMask(masks.data(), chunk, size);
      for (size_t i = 0; i < size; ++i) ASSERT_EQ(set[i], i >= chunk && (i - chunk) % 3 == 0);
    }
  }
}

}  // namespace
}  // namespace isthmus
