// The codec in tiles against the one in plain rows, bit for bit.
#include "common/compression/tile_codec.h"

#include <gtest/gtest.h>

#include "common/compression/dct.h"
#include "common/compression/demo_codec.h"
#include "common/kernels/simd.h"
#include "tests/common/compression/tiles.h"

namespace isthmus {
namespace {

// The first segment last, all the same.
void Backwards(int count, const std::function<void(int)>& body) {
  for (int i = count; i-- > 0;) body(i);
}

// Both codecs side by side on one momentum.
class Pair {
 public:
  Pair(const PayloadFormat& format, const DemoDials& dials, const TileKernels& kernels, int threads,
       std::vector<float> momentum)
      : format_(format),
        dials_(dials),
        transform_(1, static_cast<int>(format.chunk_size)),
        codec_(format, dials, kernels, threads, Backwards),
        rows_(std::move(momentum)),
        tiles_(ToTiles(rows_, format.chunk_size)) {}

  void Accumulate(float scale, const std::vector<float>& gradient) {
    AccumulateMomentum(transform_, dials_.decay, scale, gradient, rows_);
    codec_.Accumulate(scale, gradient, tiles_);
  }
  void AccumulateAndExtract(const PayloadPlace& place, float scale,
                            const std::vector<float>& gradient) {
    AccumulateMomentum(transform_, dials_.decay, scale, gradient, rows_);
    taken_ = Extract(format_, place, dials_.alpha, rows_, &expected_payload_);
    codec_.AccumulateAndExtract(place, scale, gradient, tiles_, &payload_, &exact_);
    ASSERT_EQ(payload_, expected_payload_);
    if (format_.values == ValueFormat::kSign) {
      ASSERT_EQ(exact_.size(), taken_.values.size());
    } else {
      ASSERT_TRUE(exact_.empty());
    }
  }
  void Return(const PayloadPlace& place) {
    ReturnSelection(format_.chunk_size, dials_.alpha, taken_, rows_);
    codec_.Return(ViewOf(payload_, format_, place), exact_, tiles_);
  }
  void ExpectEqual() const {
    ASSERT_EQ(Bits(ToRows(tiles_, rows_.size(), format_.chunk_size)), Bits(rows_));
  }
  const std::vector<float>& rows() const { return rows_; }

 private:
  const PayloadFormat format_;
  const DemoDials dials_;
  const BlockTransform transform_;
  TileCodec codec_;
  std::vector<float> rows_;
  std::vector<float> tiles_;
  Selection taken_;
  std::string payload_;
  std::string expected_payload_;
  std::vector<float> exact_;
};

struct Shape {
  uint32_t chunk_size;
  uint32_t k;
  uint64_t chunks;
};

void ExpectSame(Rng& rng, const Shape& shape, ValueFormat values, const DemoDials& dials,
                const TileKernels& kernels, int threads) {
  SCOPED_TRACE(testing::Message() << kernels.name << " " << shape.chunk_size << "/" << shape.k
                                  << " x " << shape.chunks << ", " << threads << " threads");
  Pair pair(DctFormat(shape.chunk_size, shape.k, values), dials, kernels, threads,
            AdversarialVector(rng, shape.chunk_size, shape.chunks));
  for (uint64_t round = 0; round < 3; ++round) {
    const PayloadPlace place{round, {40, shape.chunks}};
    ASSERT_NO_FATAL_FAILURE(pair.AccumulateAndExtract(
        place, 0.5f, AdversarialVector(rng, shape.chunk_size, shape.chunks)));
    ASSERT_NO_FATAL_FAILURE(pair.ExpectEqual());
    if (round == 1) {
      pair.Return(place);
      ASSERT_NO_FATAL_FAILURE(pair.ExpectEqual());
    }
    pair.Accumulate(1.0f, AdversarialVector(rng, shape.chunk_size, shape.chunks));
    ASSERT_NO_FATAL_FAILURE(pair.ExpectEqual());
  }
}

class TileCodecTest : public testing::TestWithParam<const TileKernels*> {};

TEST_P(TileCodecTest, P21_PayloadAndMomentumAreThoseOfPlainRows) {
  Rng rng(30);
  int combination = 0;
  for (ValueFormat values : kValueFormats) {
    for (float alpha : {1.0f, 0.2f}) {
      for (uint32_t k : {1u, 3u, 4u, 8u, 9u, 11u, 20u, 32u, 44u, 56u, 63u}) {
        for (uint64_t chunks : {0, 1, 15, 16, 17, 83}) {
          if (!IsTurn(combination++)) continue;
          const int threads = 1 + static_cast<int>(rng.Below(5));
          ExpectSame(rng, {64, k, chunks}, values, {0.999f, alpha}, *GetParam(), threads);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(TileCodecTest, P21_ForAllChunkSizes) {
  Rng rng(31);
  for (uint32_t size = kMinChunkSize; size <= kMaxChunkSize; size *= 2) {
    for (uint32_t k : {2u, 7u, 15u}) {
      const ValueFormat values = kValueFormats[rng.Below(std::size(kValueFormats))];
      const uint64_t chunks = size > 512 ? 17 : 33;  // full tiles and one chunk more
      ExpectSame(rng, {size, k, chunks}, values, {0.9f, 1.0f}, *GetParam(), 2);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(TileCodecTest, P21_ForAnyNumberOfThreads) {
  Rng rng(32);
  for (ValueFormat values : kValueFormats) {
    for (int threads = 1; threads <= 5; ++threads) {
      ExpectSame(rng, {32, 4, 131}, values, {1.0f, 1.0f}, *GetParam(), threads);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(TileCodecTest, P12_ReturnRestoresBitForBit) {
  Rng rng(33);
  for (ValueFormat values : {ValueFormat::kF32, ValueFormat::kBf16, ValueFormat::kSign}) {
    const PayloadPlace place{5, {0, 45}};
    const std::vector<float> before = AdversarialVector(rng, 64, 45);
    Pair pair(DctFormat(64, 8, values), {1.0f, 1.0f}, *GetParam(), 3, before);
    ASSERT_NO_FATAL_FAILURE(pair.AccumulateAndExtract(place, 0.0f, std::vector<float>(64 * 45)));
    EXPECT_NE(Bits(pair.rows()), Bits(before));
    pair.Return(place);
    ASSERT_NO_FATAL_FAILURE(pair.ExpectEqual());
    for (size_t i = 0; i < before.size(); ++i) ASSERT_EQ(pair.rows()[i], before[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(All, TileCodecTest, testing::ValuesIn(AvailableKernels()),
                         [](const auto& set) { return std::string(set.param->name); });

}  // namespace
}  // namespace isthmus
