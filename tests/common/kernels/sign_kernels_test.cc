// Every available set of kernels against plain loops: one-bit values.
#include <gtest/gtest.h>

#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

class SignKernelsTest : public testing::TestWithParam<const TileKernels*> {
 protected:
  const TileKernels& kernels() const { return *GetParam(); }

  // A mask per chunk, of one density each: nothing, everything, and between.
  std::vector<uint32_t> Masks(int chunk_size) {
    std::vector<uint32_t> masks(static_cast<size_t>(MaskWords(chunk_size)) * kTileChunks);
    for (size_t chunk = 0; chunk < kTileChunks; ++chunk) {
      const double density = rng_.Chance(0.1)   ? 0
                             : rng_.Chance(0.1) ? 1
                                                : rng_.Uniform() * rng_.Uniform();
      for (int i = 0; i < chunk_size; ++i) {
        if (rng_.Chance(density)) masks[At(i, chunk)] |= 1u << (i % 32);
      }
    }
    return masks;
  }
  static size_t At(int element, size_t chunk) {
    return static_cast<size_t>(element / 32) * kTileChunks + chunk;
  }
  static bool Has(const std::vector<uint32_t>& masks, int element, size_t chunk) {
    return (masks[At(element, chunk)] >> (element % 32) & 1) != 0;
  }

  Rng rng_{31};
};

TEST_P(SignKernelsTest, P19_GathersMagnitudesInAscendingOrderAndTheirSigns) {
  for (int size : kChunkSizes) {
    for (int trial = 0; trial < 8; ++trial) {
      const std::vector<float> tile = AdversarialTile(rng_, size);
      const std::vector<uint32_t> masks = Masks(size);
      std::vector<float> sums(kTileChunks), expected(kTileChunks);
      std::vector<uint32_t> negative(masks.size(), 77), expected_negative(masks.size());
      for (size_t chunk = 0; chunk < kTileChunks; ++chunk) {
        for (int i = 0; i < size; ++i) {
          if (!Has(masks, i, chunk)) continue;
          const float x = tile[static_cast<size_t>(i) * kTileChunks + chunk];
          expected[chunk] += std::fabs(x);
          if (std::signbit(x)) expected_negative[At(i, chunk)] |= 1u << (i % 32);
        }
      }
      kernels().gather_signs(size, tile.data(), masks.data(), sums.data(), negative.data());
      ASSERT_EQ(Bits(sums), Bits(expected)) << size;
      ASSERT_EQ(negative, expected_negative) << size;
    }
  }
}

TEST_P(SignKernelsTest, P19_SubtractsAnAmountWithTheSignOfEachElement) {
  for (int size : kChunkSizes) {
    for (int trial = 0; trial < 8; ++trial) {
      std::vector<float> tile = AdversarialTile(rng_, size);
      const std::vector<uint32_t> masks = Masks(size);
      std::vector<float> amounts, expected = tile;
      for (size_t chunk = 0; chunk < kTileChunks; ++chunk) {
        amounts.push_back(std::fabs(AdversarialNumber(rng_, rng_.Below(kCharacters))));
        for (int i = 0; i < size; ++i) {
          float& x = expected[static_cast<size_t>(i) * kTileChunks + chunk];
          if (Has(masks, i, chunk)) x -= std::copysign(amounts[chunk], x);
        }
      }
      kernels().subtract_signs(size, masks.data(), amounts.data(), tile.data());
      ASSERT_EQ(Bits(tile), Bits(expected)) << size;
    }
  }
}

TEST_P(SignKernelsTest, P10_MeansAreOverWhoSentInOrderOfGroupAndNeverMinusZero) {
  for (int size : kChunkSizes) {
    for (int count = 1; count <= (size <= 128 ? 9 : 3); ++count) {
      std::vector<std::vector<uint32_t>> masks, negative;
      std::vector<std::vector<float>> magnitudes;
      std::vector<SignTile> groups;
      for (int g = 0; g < count; ++g) {
        masks.push_back(Masks(size));
        std::vector<uint32_t> signs = masks.back();
        for (uint32_t& word : signs) word &= static_cast<uint32_t>(rng_());
        negative.push_back(signs);
        std::vector<float>& of = magnitudes.emplace_back();
        for (int chunk = 0; chunk < kTileChunks; ++chunk) {
          const float x = AdversarialNumber(rng_, rng_.Below(3) == 0 ? 4 : 0);
          of.push_back(x == 0.0f ? 1.0f : std::fabs(x));  // whoever sends, sends something
        }
      }
      for (size_t g = 0; g < masks.size(); ++g) {
        groups.push_back({masks[g].data(), negative[g].data(), magnitudes[g].data()});
      }
      std::vector<float> tile(static_cast<size_t>(size) * kTileChunks, 5.0f), expected;
      for (int i = 0; i < size; ++i) {
        for (size_t chunk = 0; chunk < kTileChunks; ++chunk) {
          float sum = 0, senders = 0;
          for (size_t g = 0; g < masks.size(); ++g) {
            if (!Has(masks[g], i, chunk)) continue;
            sum += Has(negative[g], i, chunk) ? -magnitudes[g][chunk] : magnitudes[g][chunk];
            ++senders;
          }
          const float mean = senders > 1 ? sum / senders : sum;
          expected.push_back(mean == 0.0f ? 0.0f : mean);
        }
      }
      kernels().mean_signs(size, groups.data(), count, tile.data());
      ASSERT_EQ(Bits(tile), Bits(expected)) << size << " " << count;
    }
  }
}

TEST_P(SignKernelsTest, PacksTheBitsThatAMaskChoosesAndSpreadsThemAgain) {
  for (int size : kChunkSizes) {
    for (int chunks = 1; chunks <= kTileChunks; chunks += 5) {
      std::vector<uint32_t> masks = Masks(size);
      std::vector<uint64_t> packed(kTileChunks), expected(kTileChunks);
      std::vector<uint32_t> bits(masks.size()), spread(masks.size()), chosen(masks.size());
      for (uint32_t& word : bits) word = static_cast<uint32_t>(rng_());
      for (size_t chunk = 0; chunk < kTileChunks; ++chunk) {
        int count = 0;
        for (int i = 0; i < size; ++i) {
          if (!Has(masks, i, chunk)) continue;
          if (count == 64) masks[At(i, chunk)] &= ~(1u << (i % 32));  // at most 64
          if (count == 64) continue;
          if (Has(bits, i, chunk)) expected[chunk] |= uint64_t{1} << count;
          ++count;
        }
      }
      for (size_t i = 0; i < masks.size(); ++i) chosen[i] = masks[i] & bits[i];
      kernels().pack_bits(size, masks.data(), bits.data(), chunks, packed.data());
      kernels().spread_bits(size, masks.data(), packed.data(), chunks, spread.data());
      expected.resize(static_cast<size_t>(chunks));
      packed.resize(static_cast<size_t>(chunks));
      ASSERT_EQ(packed, expected) << size;
      ASSERT_EQ(Lanes(spread, chunks), Lanes(chosen, chunks)) << size;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SignKernelsTest, testing::ValuesIn(AvailableKernels()),
                         [](const auto& set) { return std::string(set.param->name); });

}  // namespace
}  // namespace isthmus
