#include "common/gpu/flat_kernels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "common/compression/state_hash.h"
#include "common/kernels/naive_codes.h"
#include "tests/common/compression/test_data.h"
#include "tests/common/gpu/test_bed.h"

namespace isthmus {
namespace {

TEST(UsableKernelTest, P18_FindsWhatIsTooLargeOrNoNumber) {
  constexpr float kMost = 1e30f;
  Rng rng(60);
  const float inf = std::numeric_limits<float>::infinity();
  for (float value : {1e30f, -1e30f, 0.0f, 1.1e30f, -1.1e30f, inf, -inf,
                      std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> gradient = RandomVector(rng, 4096);
    gradient[rng.Below(4096)] = value;
    const DeviceArray<float> device_gradient(gradient);
    const DeviceArray<uint32_t> unusable(1);
    TestBed::Get().Kernels(1).FindUnusable(
        *TestBed::Get().stream, {device_gradient.data(), 4096 / 4, kMost, unusable.data()});
    EXPECT_EQ(unusable.Read()[0] == 0, std::fabs(value) <= kMost) << value;
  }
}

// Of a gradient of any length, none even.
TEST(UsableKernelTest, LooksForTheMark) {
  const DeviceArray<float> gradient(4096);
  const DeviceArray<uint32_t> mark(std::vector<uint32_t>{7});
  for (const uint64_t fours : {0u, 1024u}) {
    for (const uint32_t expected : {7u, 8u}) {
      const DeviceArray<uint32_t> unusable(1);
      TestBed::Get().Kernels(1).FindUnusable(
          *TestBed::Get().stream,
          {gradient.data(), fours, 1.0f, unusable.data(), mark.data(), expected});
      EXPECT_EQ(unusable.Read()[0], expected == 7 ? 0u : 1u) << fours;
    }
  }
}

struct Rounded {
  std::vector<uint16_t> narrowed;
  std::vector<float> widened;  // those, as floats again
};

Rounded NarrowAndWiden(const std::vector<float>& floats) {
  const DeviceArray<float> from(floats);
  const DeviceArray<uint16_t> halves(floats.size());
  const DeviceArray<float> wide(floats.size());
  DeviceStream& stream = *TestBed::Get().stream;
  const uint64_t fours = floats.size() / 4;
  TestBed::Get().Kernels(1).Narrow(stream, {from.data(), fours, halves.data()});
  TestBed::Get().Kernels(1).Widen(stream, {halves.data(), fours, wide.data()});
  return {halves.Read(), wide.Read()};
}

// Every kind of number there and back; ties to even, NaN stays NaN.
TEST(Bfloat16KernelTest, WidensAndRounds) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<std::pair<uint32_t, uint16_t>> cases = {
      {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0x3f800000, 0x3f80}, {0x3f808000, 0x3f80},
      {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, {0x7f7fffff, 0x7f80}, {0xff800000, 0xff80},
      {0x7f800001, 0x7fc0}, {0xffc12345, 0xffc1}, {0x00000001, 0x0000}, {0x00018000, 0x0002}};
  std::vector<float> floats(4096);
  std::vector<uint16_t> expected(4096);
  for (size_t i = 0; i < floats.size(); ++i) {
    floats[i] = std::bit_cast<float>(cases[i % cases.size()].first);
    expected[i] = cases[i % cases.size()].second;
  }
  const auto [narrowed, widened] = NarrowAndWiden(floats);
  for (size_t i = 0; i < floats.size(); ++i) {
    ASSERT_EQ(narrowed[i], expected[i]) << i;
    ASSERT_EQ(std::bit_cast<uint32_t>(widened[i]), uint32_t{expected[i]} << 16) << i;
  }
  ASSERT_EQ(widened[6], inf);
}

// Any floats but NaN, which has no nearest.
TEST(Bfloat16KernelTest, RoundsAsTheNaiveOne) {
  Rng rng(62);
  std::vector<float> floats(4096);
  for (float& x : floats) {
    x = std::bit_cast<float>(static_cast<uint32_t>(rng()));
    if (std::isnan(x)) x = std::numeric_limits<float>::max();
  }
  std::vector<float> expected;
  for (float x : floats) expected.push_back(naive::JobBfloat16(x));
  EXPECT_EQ(Bits(NarrowAndWiden(floats).widened), Bits(expected));
}

TEST(HashKernelTest, P22_IsTheStateHashOfLogicalElements) {
  Rng rng(61);
  const std::vector<float> parameters = RandomVector(rng, 64 * 20);
  std::vector<uint8_t> logical(20);
  uint64_t expected = 0;
  constexpr uint64_t kBegin = 64 * 1000;
  for (size_t i = 0; i < 20; ++i) {
    logical[i] = static_cast<uint8_t>(rng.Below(65));
    expected += StateHash(kBegin + 64 * i, std::span(parameters).subspan(64 * i, logical[i]));
  }
  const DeviceArray<float> device_parameters(parameters);
  const DeviceArray<uint8_t> device_logical(logical);
  const DeviceArray<uint64_t> sum(1);
  TestBed::Get().Kernels(1).Hash(*TestBed::Get().stream, {device_parameters.data(), kBegin, 20,
                                                          device_logical.data(), sum.data()});
  EXPECT_EQ(sum.Read()[0], expected);
}

}  // namespace
}  // namespace isthmus
