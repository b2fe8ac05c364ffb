#include "common/compression/demo_codec.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/compression/dct.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

TEST(DemoCodecTest, P17_MomentumDecaysAndGathersTransformedGradients) {
  Rng rng(6);
  const std::vector<float> g = RandomVector(rng, 256);
  const std::vector<float> before = RandomVector(rng, 256);
  std::vector<float> m = before;
  AccumulateMomentum(BlockTransform(1, 64), 0.9f, 0.25f, g, m);
  std::vector<float> transformed(g.size());
  ForwardDct(64, g, transformed);
  for (size_t i = 0; i < m.size(); ++i) {
    EXPECT_EQ(m[i], 0.9f * before[i] + 0.25f * transformed[i]);
  }
}

TEST(DemoCodecTest, P21_TheVectorMayBeCutBetweenBlocksAnywhere) {
  Rng rng(7);
  const BlockTransform transform(1, 64);
  const std::vector<float> g = RandomVector(rng, 3 * 4096 + 64);
  std::vector<float> whole = RandomVector(rng, g.size());
  std::vector<float> cut = whole;
  AccumulateMomentum(transform, 0.9f, 1.0f, g, whole);
  const std::span<const float> gradient(g);
  for (size_t at = 0; at < g.size(); at += 5 * 64) {
    const size_t n = std::min<size_t>(5 * 64, g.size() - at);
    AccumulateMomentum(transform, 0.9f, 1.0f, gradient.subspan(at, n),
                       std::span(cut).subspan(at, n));
  }
  EXPECT_EQ(Bits(whole), Bits(cut));
}

// All formats, indices or none: what leaves the momentum is alpha times what arrives.
TEST(DemoCodecTest, P19_SubtractsAlphaTimesWhatThePayloadSays) {
  Rng rng(8);
  for (ValueFormat values : kValueFormats) {
    for (float alpha : {1.0f, 0.2f}) {
      const PayloadFormat formats[] = {DctFormat(64, 8, values),
                                       DctFormat(64, 64, values),
                                       {Transform::kNone, 64, 8, values, Positions::kRandom, 9},
                                       {Transform::kNone, 64, 8, values, Positions::kStriding, 0}};
      for (const PayloadFormat& format : formats) {
        const PayloadPlace place{2, {3, 50}};
        const std::vector<float> before = AdversarialVector(rng, 64, 50);
        std::vector<float> m = before;
        std::string payload;
        const Selection taken = Extract(format, place, alpha, m, &payload);
        const Selection said = *DecodePayload(AsBytes(payload), format, place);
        std::vector<float> expected = before;
        for (size_t i = 0; i < taken.values.size(); ++i) {
          const size_t offset = taken.indices.empty() ? i % format.k : taken.indices[i];
          float& left = expected[i / format.k * 64 + offset];
          if (values != ValueFormat::kSign) {
            ASSERT_EQ(Bits({&taken.values[i], 1}), Bits({&said.values[i], 1}));
          } else {  // all of it is taken
            ASSERT_TRUE(taken.values[i] == left);
          }
          left -= alpha * taken.values[i];
        }
        ASSERT_EQ(Bits(m), Bits(expected));
      }
    }
  }
}

TEST(DemoCodecTest, P12_ReturnRestoresBitForBit) {
  Rng rng(9);
  for (ValueFormat values : {ValueFormat::kF32, ValueFormat::kBf16}) {
    for (uint32_t k : {1u, 8u, 64u}) {
      const PayloadFormat format = DctFormat(64, k, values);
      std::vector<float> before = AdversarialVector(rng, 64, 100);
      // Values at which a careless difference would round, or a sign of zero be lost.
      before[0] = -0.0f;
      before[1] = 1e-45f;
      before[2] = 3.4028234e38f;
      before[3] = -1.1754942e-38f;
      std::vector<float> m = before;
      std::string payload;
      const Selection taken = Extract(format, {0, 0, 100}, 1.0f, m, &payload);
      EXPECT_NE(Bits(m), Bits(before));
      ReturnSelection(64, 1.0f, taken, m);
      EXPECT_EQ(Bits(m), Bits(before)) << k;
    }
  }
}

TEST(DemoCodecTest, P12_ReturnRestoresUpToRoundingOtherwise) {
  Rng rng(10);
  for (ValueFormat values : kValueFormats) {
    for (float alpha : {1.0f, 0.2f}) {
      const PayloadFormat format = DctFormat(64, 8, values);
      const std::vector<float> before = RandomVector(rng, 6400);
      std::vector<float> m = before;
      std::string payload;
      const Selection taken = Extract(format, {0, 0, 100}, alpha, m, &payload);
      ReturnSelection(64, alpha, taken, m);
      for (size_t i = 0; i < m.size(); ++i) ASSERT_NEAR(m[i], before[i], 1e-6);
    }
  }
}

TEST(DemoCodecTest, AllOfABlockNeedsNoIndices) {
  std::vector<float> m = {3.0f, -1.0f, 2.0f, 0.5f};
  std::string payload;
  const Selection all = Extract(DctFormat(2, 2, ValueFormat::kF32), {0, 0, 2}, 1.0f, m, &payload);
  EXPECT_TRUE(all.indices.empty());
  EXPECT_EQ(all.values, (std::vector<float>{3.0f, -1.0f, 2.0f, 0.5f}));
  EXPECT_EQ(m, std::vector<float>(4));
}

TEST(DemoCodecTest, P21_ContributionsMayBeCutIntoPartsAnywhere) {
  Rng rng(11);
  for (ValueFormat values : kValueFormats) {
    const PayloadFormat format = DctFormat(16, 3, values);
    std::vector<float> whole = AdversarialVector(rng, 16, 30);
    std::vector<float> cut = whole;
    std::string payload;
    const Selection taken = Extract(format, {4, 100, 30}, 1.0f, whole, &payload);
    for (uint64_t at = 0; at < 30; at += 7) {
      const uint64_t count = std::min<uint64_t>(7, 30 - at);
      const Selection part = Extract(format, {4, 100 + at, count}, 1.0f,
                                     std::span(cut).subspan(at * 16, count * 16), &payload);
      for (size_t i = 0; i < part.values.size(); ++i) {
        ASSERT_EQ(part.indices[i], taken.indices[at * 3 + i]);
        ASSERT_EQ(Bits({&part.values[i], 1}), Bits({&taken.values[at * 3 + i], 1}));
      }
    }
    EXPECT_EQ(Bits(cut), Bits(whole));
  }
}

// DeMo (arXiv:2411.19870v2), algorithm 1, with FlexDeMo's alpha: what is not sent stays, so in the
// long run everything that was accumulated is sent, however coarse the values.
TEST(DemoPaperTest, P23_MomentumPlusSentIsWhatAccumulated) {
  Rng rng(12);
  for (ValueFormat values :
       {ValueFormat::kF32, ValueFormat::kBf16, ValueFormat::kInt4, ValueFormat::kOneBit}) {
    const PayloadFormat format = DctFormat(16, 2, values);
    const BlockTransform transform(1, 16);
    std::vector<float> m(160);
    std::vector<double> accumulated(m.size());
    std::vector<double> sent(m.size());
    for (int step = 0; step < 50; ++step) {
      const std::vector<float> g = RandomVector(rng, m.size());
      std::vector<float> transformed(m.size());
      transform.Forward(g, transformed);
      for (size_t i = 0; i < m.size(); ++i) accumulated[i] += static_cast<double>(transformed[i]);
      AccumulateMomentum(transform, 1.0f, 1.0f, g, m);
      std::string payload;
      const Selection taken = Extract(format, {0, 0, 10}, 0.75f, m, &payload);
      for (size_t i = 0; i < taken.values.size(); ++i) {
        sent[i / 2 * 16 + taken.indices[i]] += 0.75 * static_cast<double>(taken.values[i]);
      }
    }
    for (size_t i = 0; i < m.size(); ++i) {
      EXPECT_NEAR(sent[i] + static_cast<double>(m[i]), accumulated[i], 1e-4);
    }
  }
}

}  // namespace
}  // namespace isthmus
