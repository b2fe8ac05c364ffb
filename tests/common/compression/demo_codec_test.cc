#include "common/compression/demo_codec.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/compression/dct.h"
#include "common/compression/merge.h"
#include "common/compression/topk.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

PayloadFormat Format(uint32_t chunk_size, uint32_t k, ValueFormat values) {
  return {Transform::kDct, chunk_size, k, values};
}

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

TEST(DemoCodecTest, P19_SubtractsExactlyWhatThePayloadSays) {
  Rng rng(8);
  for (ValueFormat values : {ValueFormat::kF32, ValueFormat::kBf16}) {
    const PayloadFormat format = Format(64, 8, values);
    const std::vector<float> before = RandomVector(rng, 640);
    std::vector<float> m = before;
    const Selection taken = ExtractTopK(format, 3, m);
    EXPECT_EQ(taken.first_chunk, 3u);
    EXPECT_EQ(taken.chunk_count, 10u);
    std::vector<float> sum = m;
    for (size_t i = 0; i < taken.values.size(); ++i) {
      const size_t at = i / 8 * 64 + taken.indices[i];
      EXPECT_EQ(taken.values[i], QuantizeValue(values, before[at]));
      sum[at] += taken.values[i];
    }
    EXPECT_EQ(Bits(sum), Bits(before));
  }
}

TEST(DemoCodecTest, P12_ReturnRestoresBitForBit) {
  Rng rng(9);
  for (ValueFormat values : {ValueFormat::kF32, ValueFormat::kBf16}) {
    for (uint32_t k : {1u, 8u, 64u}) {
      const PayloadFormat format = Format(64, k, values);
      std::vector<float> before = RandomVector(rng, 6400);
      // Values at which a careless difference would round, or a sign of zero be lost.
      before[0] = -0.0f;
      before[1] = 1e-45f;
      before[2] = 3.4028234e38f;
      before[3] = -1.1754942e-38f;
      for (size_t i = 64; i < 128; ++i) before[i] = i % 2 == 0 ? 0.0f : -0.0f;
      std::vector<float> m = before;
      ReturnSelection(64, ExtractTopK(format, 0, m), m);
      EXPECT_EQ(Bits(m), Bits(before)) << k;
    }
  }
}

TEST(DemoCodecTest, ClampsKToTheBlock) {
  std::vector<float> m = {3.0f, -1.0f, 2.0f, 0.5f};
  const Selection all = ExtractTopK(Format(2, 8, ValueFormat::kF32), 0, m);
  EXPECT_TRUE(all.indices.empty());
  EXPECT_EQ(all.values, (std::vector<float>{3.0f, -1.0f, 2.0f, 0.5f}));
  EXPECT_EQ(m, std::vector<float>(4));
  m = {3.0f, -4.0f};
  EXPECT_EQ(ExtractTopK(Format(2, 0, ValueFormat::kF32), 0, m).values, std::vector<float>{-4.0f});
}

// DeMo (arXiv:2411.19870v2), algorithm 1: what is not sent stays, so in the long run everything
// that was accumulated is sent.
TEST(DemoPaperTest, MomentumPlusSentIsWhatAccumulated) {
  Rng rng(10);
  const PayloadFormat format = Format(16, 2, ValueFormat::kBf16);
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
    const Selection taken = ExtractTopK(format, 0, m);
    for (size_t i = 0; i < taken.values.size(); ++i) {
      sent[i / 2 * 16 + taken.indices[i]] += static_cast<double>(taken.values[i]);
    }
  }
  for (size_t i = 0; i < m.size(); ++i) {
    EXPECT_NEAR(sent[i] + static_cast<double>(m[i]), accumulated[i], 1e-4);
  }
}

}  // namespace
}  // namespace isthmus
