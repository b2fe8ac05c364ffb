#include "common/compression/dct.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "common/base/crc32c.h"
#include "common/kernels/dct_tables.h"
#include "common/kernels/naive_dct.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

constexpr double kTolerance = 1e-6;  // of the largest value

double LargestMagnitude(std::span<const float> x) {
  double largest = 0.0;
  for (float value : x) largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

template <typename A, typename B>
double LargestDifference(const A& a, const B& b) {
  double largest = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return largest;
}

class DctTest : public testing::TestWithParam<int> {
 protected:
  size_t n() const { return static_cast<size_t>(GetParam()); }
  Rng rng_{static_cast<uint64_t>(GetParam())};
};

TEST_P(DctTest, P21_EqualsTheNaiveOne) {
  const std::vector<float> x = RandomVector(rng_, n());
  std::vector<float> y(n());
  ForwardDct(GetParam(), x, y);
  EXPECT_EQ(Bits(y), Bits(naive::Dct(x)));
  InverseDct(GetParam(), x, y);
  EXPECT_EQ(Bits(y), Bits(naive::InverseDct(x)));
}

TEST_P(DctTest, InverseUndoesForward) {
  const std::vector<float> x = RandomVector(rng_, 3 * n());
  std::vector<float> y(x.size());
  std::vector<float> back(x.size());
  ForwardDct(GetParam(), x, y);
  InverseDct(GetParam(), y, back);
  EXPECT_LE(LargestDifference(back, x), kTolerance * LargestMagnitude(x));
}

TEST_P(DctTest, KeepsLengthsAndAngles) {
  const std::vector<float> a = RandomVector(rng_, n());
  const std::vector<float> b = RandomVector(rng_, n());
  const auto dot = [](const std::vector<float>& u, const std::vector<float>& v) {
    double sum = 0.0;
    for (size_t i = 0; i < u.size(); ++i) sum += static_cast<double>(u[i]) * v[i];
    return sum;
  };
  std::vector<float> da(n());
  std::vector<float> db(n());
  ForwardDct(GetParam(), a, da);
  ForwardDct(GetParam(), b, db);
  EXPECT_NEAR(dot(da, da), dot(a, a), kTolerance * dot(a, a));
  EXPECT_NEAR(dot(da, db), dot(a, b), kTolerance * dot(a, a));
}

TEST_P(DctTest, InverseIsTheTranspose) {
  // <DCT(a), b> = <a, DCT^T(b)> for unit vectors: element [f, j] read both ways.
  for (size_t trial = 0; trial < 8; ++trial) {
    const size_t j = rng_.Below(n());
    const size_t f = rng_.Below(n());
    std::vector<float> a(n());
    std::vector<float> b(n());
    a[j] = b[f] = 1.0f;
    ForwardDct(GetParam(), a, a);
    InverseDct(GetParam(), b, b);
    EXPECT_NEAR(a[f], b[j], kTolerance);
  }
}

// Nine chunks: a full set of lanes and one over.
TEST_P(DctTest, P21_ResultIsIndependentOfPositionAndNeighbours) {
  const std::vector<float> x = RandomVector(rng_, n());
  std::vector<float> alone(n());
  std::vector<float> alone_inverse(n());
  ForwardDct(GetParam(), x, alone);
  InverseDct(GetParam(), x, alone_inverse);
  for (size_t position = 0; position < 9; ++position) {
    std::vector<float> many = RandomVector(rng_, 9 * n());
    std::copy(x.begin(), x.end(), many.begin() + static_cast<ptrdiff_t>(position * n()));
    std::vector<float> out(many.size());
    ForwardDct(GetParam(), many, out);
    EXPECT_EQ(Bits(std::span(out).subspan(position * n(), n())), Bits(alone));
    InverseDct(GetParam(), many, many);  // in place
    EXPECT_EQ(Bits(std::span(many).subspan(position * n(), n())), Bits(alone_inverse));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, DctTest,
                         testing::Values(16, 32, 64, 128, 256, 512, 1024, 2048, 4096));

template <int N>
void ExpectRotationsAreNearest() {
  for (int j = 0; j < N / 2; ++j) {
    const double angle = (2 * j + 1) * std::numbers::pi / (4.0 * N);
    ASSERT_EQ(kRotations<N>.cos[j], static_cast<float>(std::cos(angle))) << N << " " << j;
    ASSERT_EQ(kRotations<N>.sin[j], static_cast<float>(std::sin(angle))) << N << " " << j;
  }
}

TEST(DctTablesTest, AreTheNearestFloats) {
  ExpectRotationsAreNearest<2>();
  ExpectRotationsAreNearest<4>();
  ExpectRotationsAreNearest<8>();
  ExpectRotationsAreNearest<16>();
  ExpectRotationsAreNearest<32>();
  ExpectRotationsAreNearest<64>();
  ExpectRotationsAreNearest<128>();
  ExpectRotationsAreNearest<256>();
  ExpectRotationsAreNearest<512>();
  ExpectRotationsAreNearest<1024>();
  ExpectRotationsAreNearest<2048>();
}

// The same output from every compiler and machine. If this fails, replicas built differently part.
TEST(DctTest, P21_BitsArePinned) {
  uint32_t crc = 0;
  for (int n = kMinChunkSize; n <= kMaxChunkSize; n *= 2) {
    Rng rng(7);
    std::vector<float> x = RandomVector(rng, static_cast<size_t>(n));
    ForwardDct(n, x, x);
    crc = ExtendCrc32c(crc, std::as_bytes(std::span(x)));
    InverseDct(n, x, x);
    crc = ExtendCrc32c(crc, std::as_bytes(std::span(x)));
  }
  EXPECT_EQ(crc, 3458079216u);
}

}  // namespace
}  // namespace isthmus
