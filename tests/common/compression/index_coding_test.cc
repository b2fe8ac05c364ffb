#include "common/compression/index_coding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "common/kernels/naive_subset.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

std::vector<uint16_t> RandomSubset(Rng& rng, uint32_t chunk_size, uint32_t k) {
  std::vector<uint16_t> all(chunk_size);
  std::iota(all.begin(), all.end(), uint16_t{0});
  for (uint32_t i = 0; i < k; ++i) std::swap(all[i], all[i + rng.Below(chunk_size - i)]);
  all.resize(k);
  std::sort(all.begin(), all.end());
  return all;
}

// log2 of binom(chunk_size, k), to a few digits.
double Log2Subsets(uint32_t chunk_size, uint32_t k) {
  return (std::lgamma(chunk_size + 1.0) - std::lgamma(k + 1.0) -
          std::lgamma(chunk_size - k + 1.0)) /
         std::log(2.0);
}

int PackedBits(uint32_t chunk_size, uint32_t k) {
  return static_cast<int>(k * static_cast<uint32_t>(std::bit_width(chunk_size - 1)));
}

// `subsets` one after the other from bit `begin` on, `gap` ones between; then back.
void ExpectRoundTrip(const IndexCoder& coder, const std::vector<std::vector<uint16_t>>& subsets,
                     int begin, int gap) {
  const uint64_t stride = static_cast<uint64_t>(coder.bits() + gap);
  std::vector<std::byte> bytes(
      BytesForBits(static_cast<uint64_t>(begin) + stride * subsets.size()));
  BitWriter out(bytes.data(), bytes.data() + bytes.size());
  out.Put((uint64_t{1} << begin) - 1, begin);
  for (const auto& subset : subsets) {
    coder.Encode(subset.data(), out);
    out.Put((uint64_t{1} << gap) - 1, gap);
  }
  ASSERT_EQ(out.Finish(), bytes.data() + bytes.size());
  const size_t k = subsets.front().size();
  for (size_t first = 0; first < subsets.size(); first += IndexCoder::kBatch) {
    const size_t count = std::min<size_t>(IndexCoder::kBatch, subsets.size() - first);
    std::vector<uint16_t> indices(count * k);
    const uint64_t bit = static_cast<uint64_t>(begin) + first * stride;
    coder.Decode(bytes, bit, stride, static_cast<int>(count), indices.data());
    for (size_t i = 0; i < count; ++i) {
      ASSERT_TRUE(coder.Valid(bytes, bit + i * stride));
      const auto at = indices.begin() + static_cast<ptrdiff_t>(i * k);
      ASSERT_EQ(std::vector<uint16_t>(at, at + static_cast<ptrdiff_t>(k)), subsets[first + i]);
    }
  }
}

TEST(IndexCodingTest, P19_EverySubsetOfSmallChunksComesBackAndHasItsOwnRank) {
  for (uint32_t chunk_size = 2; chunk_size <= 13; ++chunk_size) {
    for (uint32_t k = 1; k < chunk_size; ++k) {
      const IndexCoder coder(chunk_size, k);
      std::vector<std::vector<uint16_t>> subsets;
      for (uint32_t mask = 0; mask < 1u << chunk_size; ++mask) {
        if (std::popcount(mask) != static_cast<int>(k)) continue;
        std::vector<uint16_t>& subset = subsets.emplace_back();
        for (uint16_t i = 0; i < chunk_size; ++i) {
          if ((mask >> i & 1) != 0) subset.push_back(i);
        }
      }
      ExpectRoundTrip(coder, subsets, 0, 0);
      if (coder.coding() != IndexCoding::kEnumerative) continue;
      // In ascending order of mask, the ranks count; descending if of what was left out.
      for (size_t rank = 0; rank < subsets.size(); ++rank) {
        std::byte bytes[8];
        BitWriter out(bytes, bytes + 8);
        coder.Encode(subsets[rank].data(), out);
        out.Finish();
        const size_t expected = 2 * k > chunk_size ? subsets.size() - 1 - rank : rank;
        ASSERT_EQ(LoadBits(bytes, 0, coder.bits()), expected);
      }
    }
  }
}

// Powers of two up to 4096, and block sizes of the recorded runs.
TEST(IndexCodingTest, P19_RandomSubsetsComeBackInAllSizes) {
  Rng rng(20);
  for (uint32_t size : {16u, 32u, 64u, 128u, 256u, 512u, 1024u, 2048u, 4096u,  //
                        50u, 80u, 100u, 127u, 144u, 800u, 960u, 1000u, 1280u}) {
    for (uint32_t k : {1u, 2u, 3u, 4u, 7u, 8u, 9u, 12u, 16u, 32u, 63u, size / 2, size - 1}) {
      if (k >= size || (k > 1100 && size > 1280)) continue;
      const IndexCoder coder(size, k);
      std::vector<std::vector<uint16_t>> subsets;
      for (int i = 0; i < 2 + Repetitions(38); ++i) subsets.push_back(RandomSubset(rng, size, k));
      std::iota(subsets[0].begin(), subsets[0].end(), uint16_t{0});  // the first, the last
      std::iota(subsets[1].begin(), subsets[1].end(), static_cast<uint16_t>(size - k));
      ExpectRoundTrip(coder, subsets, static_cast<int>(rng.Below(40)),
                      static_cast<int>(rng.Below(20)));
      if (testing::Test::HasFatalFailure()) FAIL() << size << "/" << k;
    }
  }
}

TEST(IndexCodingTest, AllCountsOfAChunkOf64ComeBack) {
  Rng rng(21);
  for (uint32_t k = 1; k < 64; ++k) {
    std::vector<std::vector<uint16_t>> subsets;
    for (int i = 0; i < 17; ++i) subsets.push_back(RandomSubset(rng, 64, k));
    ExpectRoundTrip(IndexCoder::For(64, k), subsets, static_cast<int>(k % 8), 0);
  }
}

naive::Elements ElementsOf(uint32_t size, const std::vector<uint16_t>& subset) {
  naive::Elements elements(size);
  for (uint16_t index : subset) elements[index] = true;
  return elements;
}

// One subset at a time and a tile at a time: two implementations of the naive one.
TEST(IndexCodingTest, P19_RanksAreTheNaiveOnes) {
  Rng rng(23);
  for (uint32_t size : {16u, 32u, 64u, 128u, 256u, 512u, 1024u, 2048u, 4096u,  //
                        50u, 80u, 100u, 127u, 144u, 960u}) {
    for (uint32_t k : {2u, 3u, 4u, 7u, 8u, 11u, 13u, 16u, 20u, 32u, 64u}) {
      if (2 * k > size || !Binomial(size, k).has_value()) continue;
      const IndexCoder coder(size, k);
      const SubsetRanks ranks(size, k, *Binomial(size, k));
      for (int trial = 0; trial < Repetitions(32); ++trial) {
        const std::vector<uint16_t> subset = RandomSubset(rng, size, k);
        const WideRank rank = naive::Rank(ElementsOf(size, subset));
        ASSERT_TRUE(ranks.Rank(subset) == rank) << size << "/" << k;
        std::vector<uint16_t> again(k);
        ranks.Unrank(rank, again.data());
        ASSERT_EQ(again, subset) << size << "/" << k;
        if (coder.coding() != IndexCoding::kEnumerative || coder.bits() > kMaxBitsAtOnce) continue;
        std::byte bytes[8];
        BitWriter out(bytes, bytes + 8);
        coder.Encode(subset.data(), out);
        out.Finish();
        ASSERT_EQ(LoadBits(bytes, 0, coder.bits()), static_cast<uint64_t>(rank))
            << size << "/" << k;
      }
    }
  }
}

TEST(IndexCodingTest, P19_IsTheSmallerOfPackedAndEnumerative) {
  for (uint32_t size :
       {2u, 3u, 16u, 50u, 64u, 100u, 127u, 128u, 129u, 256u, 1024u, 4096u, 65536u}) {
    for (uint32_t k = 1; k < std::min(size, 130u); ++k) {
      if (size == 65536 && k > 12) break;  // larger tables than a test should have
      const IndexCoder coder(size, k);
      const double subsets = Log2Subsets(size, k);
      const bool fits = subsets <= 128 && std::ceil(subsets - 1e-9) < PackedBits(size, k);
      if (fits) {
        ASSERT_EQ(coder.coding(), IndexCoding::kEnumerative) << size << "/" << k;
        ASSERT_NEAR(coder.bits(), std::ceil(subsets - 1e-6), 0) << size << "/" << k;
      } else {
        ASSERT_EQ(coder.coding(), IndexCoding::kPacked) << size << "/" << k;
        ASSERT_EQ(coder.bits(), PackedBits(size, k)) << size << "/" << k;
      }
    }
  }
}

TEST(IndexCodingTest, P19_TakesTheseBits) {
  EXPECT_EQ(IndexCoder::For(64, 4).bits(), 20);
  EXPECT_EQ(IndexCoder::For(64, 8).bits(), 33);
  EXPECT_EQ(IndexCoder::For(64, 16).bits(), 49);
  EXPECT_EQ(IndexCoder::For(64, 1).coding(), IndexCoding::kPacked);
  EXPECT_EQ(IndexCoder::For(64, 1).bits(), 6);
}

TEST(IndexCodingTest, RanksFromTheNumberOfSubsetsOnAreNotValid) {
  for (auto [size, k] : {std::pair{16u, 3u}, {64u, 4u}, {64u, 8u}, {100u, 5u}}) {
    const IndexCoder coder(size, k);
    ASSERT_EQ(coder.coding(), IndexCoding::kEnumerative);
    const auto subsets = static_cast<uint64_t>(std::llround(std::exp2(Log2Subsets(size, k))));
    for (uint64_t rank :
         {uint64_t{0}, subsets - 1, subsets, subsets + 1, (uint64_t{1} << coder.bits()) - 1}) {
      std::byte bytes[9];
      BitWriter out(bytes, bytes + 9);
      out.Put(5, 3);
      out.Put(rank, coder.bits());
      out.Finish();
      EXPECT_EQ(coder.Valid(bytes, 3), rank < subsets) << size << "/" << k << " " << rank;
    }
  }
}

TEST(IndexCodingTest, WideRanksFromTheNumberOfSubsetsOnAreNotValid) {
  for (auto [size, k] : {std::pair{128u, 20u}, {64u, 32u}, {128u, 64u}, {4096u, 13u}}) {
    const IndexCoder coder(size, k);
    ASSERT_EQ(coder.coding(), IndexCoding::kEnumerative);
    ASSERT_GT(coder.bits(), 52);
    std::vector<uint16_t> last(k);
    std::iota(last.begin(), last.end(), static_cast<uint16_t>(size - k));
    std::vector<std::byte> bytes(16);
    BitWriter out(bytes.data(), bytes.data() + bytes.size());
    coder.Encode(last.data(), out);
    out.Finish();
    EXPECT_TRUE(coder.Valid(bytes, 0));
    for (std::byte& byte : bytes) {  // one more, with its carry
      byte = static_cast<std::byte>(std::to_integer<unsigned>(byte) + 1);
      if (byte != std::byte{0}) break;
    }
    EXPECT_FALSE(coder.Valid(bytes, 0)) << size << "/" << k;
    std::fill(bytes.begin(), bytes.end(), std::byte{0xff});
    EXPECT_FALSE(coder.Valid(bytes, 0)) << size << "/" << k;
  }
}

TEST(IndexCodingTest, PackedIndicesThatRepeatDescendOrExceedAreNotValid) {
  const auto valid = [](uint32_t size, const std::vector<uint64_t>& indices) {
    const IndexCoder coder(size, static_cast<uint32_t>(indices.size()));
    EXPECT_EQ(coder.coding(), IndexCoding::kPacked);
    const int width = coder.bits() / static_cast<int>(indices.size());
    std::vector<std::byte> bytes(BytesForBits(static_cast<uint64_t>(coder.bits()) + 5));
    BitWriter out(bytes.data(), bytes.data() + bytes.size());
    out.Put(31, 5);
    for (uint64_t index : indices) out.Put(index, width);
    out.Finish();
    return coder.Valid(bytes, 5);
  };
  EXPECT_TRUE(valid(50, {49}));
  EXPECT_FALSE(valid(50, {50}));
  EXPECT_FALSE(valid(50, {63}));
  std::vector<uint64_t> many(16);  // binom(4096, 16) needs over 128 bits
  std::iota(many.begin(), many.end(), uint64_t{4080});
  EXPECT_TRUE(valid(4096, many));
  many[8] = many[7];
  EXPECT_FALSE(valid(4096, many));
  many[8] = many[7] - 1;
  EXPECT_FALSE(valid(4096, many));
}

}  // namespace
}  // namespace isthmus
