// Every available set of kernels against the naive one: one-bit values.
#include <gtest/gtest.h>

#include "tests/common/kernels/kernel_data.h"

namespace isthmus {
namespace {

class SignKernelsTest : public testing::TestWithParam<const TileKernels*> {
 protected:
  const TileKernels& kernels() const { return *GetParam(); }

  // A mask per chunk, of one density each: nothing, everything, and between; `most` at most.
  std::vector<uint32_t> Masks(int chunk_size, size_t most = 4096) {
    std::vector<uint32_t> masks(TileWords(chunk_size));
    for (size_t chunk = 0; chunk < kTileChunks; ++chunk) {
      const double density = rng_.Chance(0.1)   ? 0
                             : rng_.Chance(0.1) ? 1
                                                : rng_.Uniform() * rng_.Uniform();
      naive::Elements chosen(static_cast<size_t>(chunk_size));
      size_t left = most;
      for (size_t i = 0; i < chosen.size() && left > 0; ++i) {
        chosen[i] = rng_.Chance(density);
        if (chosen[i]) --left;
      }
      naive::WriteMask(chosen, chunk, masks.data());
    }
    return masks;
  }
  // Any bits within `masks`.
  std::vector<uint32_t> SomeOf(std::vector<uint32_t> masks) {
    for (uint32_t& word : masks) word &= static_cast<uint32_t>(rng_());
    return masks;
  }
  // A fourth of the chunks of extremes.
  std::vector<float> Tile(int chunk_size) {
    std::vector<float> tile = AdversarialTile(rng_, chunk_size);
    for (size_t chunk = 0; chunk < kTileChunks; ++chunk) {
      if (!rng_.Chance(0.25)) continue;
      naive::Chunk x(static_cast<size_t>(chunk_size));
      for (float& value : x) value = ExtremeNumber(rng_);
      naive::WriteChunk(x, chunk, tile.data());
    }
    return tile;
  }

  Rng rng_{31};
};

TEST_P(SignKernelsTest, P19_GathersMagnitudesInAscendingOrderAndTheirSigns) {
  for (int size : kChunkSizes) {
    for (int trial = 0; trial < Repetitions(8); ++trial) {
      const std::vector<float> tile = Tile(size);
      const std::vector<uint32_t> masks = Masks(size);
      std::vector<float> sums(kTileChunks), expected_sums(kTileChunks);
      std::vector<uint32_t> negative(masks.size(), 77), expected_negative = negative;
      naive::kKernels.gather_signs(size, tile.data(), masks.data(), expected_sums.data(),
                                   expected_negative.data());
      kernels().gather_signs(size, tile.data(), masks.data(), sums.data(), negative.data());
      ASSERT_EQ(Bits(sums), Bits(expected_sums)) << size;
      ASSERT_EQ(negative, expected_negative) << size;
    }
  }
}

TEST_P(SignKernelsTest, P19_SubtractsAnAmountWithTheSignOfEachElement) {
  for (int size : kChunkSizes) {
    for (int trial = 0; trial < Repetitions(8); ++trial) {
      std::vector<float> tile = Tile(size), expected = tile;
      const std::vector<uint32_t> masks = Masks(size);
      std::vector<float> amounts;
      for (int chunk = 0; chunk < kTileChunks; ++chunk) {
        amounts.push_back(std::fabs(AdversarialNumber(rng_, rng_.Below(kCharacters))));
      }
      naive::kKernels.subtract_signs(size, masks.data(), amounts.data(), expected.data());
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
        negative.push_back(SomeOf(masks.back()));
        std::vector<float>& of = magnitudes.emplace_back();
        for (int chunk = 0; chunk < kTileChunks; ++chunk) {
          const float x = AdversarialNumber(rng_, rng_.Below(3) == 0 ? 4 : 0);
          of.push_back(x == 0.0f ? 1.0f : std::fabs(x));  // whoever sends, sends something
        }
      }
      for (size_t g = 0; g < masks.size(); ++g) {
        groups.push_back({masks[g].data(), negative[g].data(), magnitudes[g].data()});
      }
      std::vector<float> tile(static_cast<size_t>(size) * kTileChunks, 5.0f), expected = tile;
      naive::kKernels.mean_signs(size, groups.data(), count, expected.data());
      kernels().mean_signs(size, groups.data(), count, tile.data());
      ASSERT_EQ(Bits(tile), Bits(expected)) << size << " " << count;
    }
  }
}

TEST_P(SignKernelsTest, PacksTheBitsThatAMaskChoosesAndSpreadsThemAgain) {
  for (int size : kChunkSizes) {
    for (int chunks = 1; chunks <= kTileChunks; ++chunks) {
      const std::vector<uint32_t> masks = Masks(size, 64);
      const std::vector<uint32_t> bits = SomeOf(std::vector<uint32_t>(masks.size(), ~0u));
      std::vector<uint64_t> packed(kTileChunks, 5), expected_packed = packed;
      std::vector<uint32_t> spread(masks.size(), 77), expected_spread = spread;
      naive::kKernels.pack_bits(size, masks.data(), bits.data(), chunks, expected_packed.data());
      kernels().pack_bits(size, masks.data(), bits.data(), chunks, packed.data());
      ASSERT_EQ(packed, expected_packed) << size;
      // Of what a record says beyond its chunk's bits, nothing may come through.
      for (uint64_t& word : packed) word |= rng_.Chance(0.5) ? 0 : rng_();
      naive::kKernels.spread_bits(size, masks.data(), packed.data(), chunks,
                                  expected_spread.data());
      kernels().spread_bits(size, masks.data(), packed.data(), chunks, spread.data());
      ASSERT_EQ(Lanes(spread, chunks), Lanes(expected_spread, chunks)) << size;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SignKernelsTest, testing::ValuesIn(AvailableKernels()),
                         [](const auto& set) { return std::string(set.param->name); });

}  // namespace
}  // namespace isthmus
