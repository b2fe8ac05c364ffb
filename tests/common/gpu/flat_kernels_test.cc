#include "common/gpu/flat_kernels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "common/compression/intake.h"
#include "common/compression/state_hash.h"
#include "common/kernels/bfloat16.h"
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

// --- how far a job has gone ----------------------------------------------------------------------

// What a job holds, on the device; of bfloat16, what is nearest.
class HeldArray {
 public:
  HeldArray(const std::vector<float>& values, bool halves)
      : halves_(halves), floats_(halves ? std::vector<float>() : values), narrow_(Narrow(values)) {}
  HeldNumbers get() const {
    return {halves_ ? static_cast<void*>(narrow_.data()) : floats_.data(), halves_};
  }
  std::vector<uint16_t> Halves() const { return narrow_.Read(); }
  std::vector<float> Floats() const {
    if (!halves_) return floats_.Read();
    std::vector<float> floats;
    for (uint16_t half : Halves()) floats.push_back(naive::OfBfloat16(half));
    return floats;
  }

 private:
  static std::vector<uint16_t> Narrow(const std::vector<float>& values) {
    std::vector<uint16_t> halves;
    for (float x : values) halves.push_back(ToBfloat16(x));
    return halves;
  }
  const bool halves_;
  const DeviceArray<float> floats_;
  const DeviceArray<uint16_t> narrow_;
};

TEST(ProgressKernelTest, P29_IsTheCpusTakeProgress) {
  Rng rng(63);
  const float inf = std::numeric_limits<float>::infinity();
  for (const bool halves : {false, true}) {
    for (const float weight : {1.0f, 0.75f}) {
      for (const float bad : {0.0f, 2e30f, -1e30f, inf, std::numeric_limits<float>::quiet_NaN()}) {
        const std::vector<float> given = AdversarialVector(rng, 64, 64);
        std::vector<float> moved = given;
        for (float& x : moved) x += rng.Chance(0.2) ? 0.0f : static_cast<float>(rng.Uniform());
        if (bad != 0.0f) moved[rng.Below(moved.size())] = bad;
        const HeldArray now(moved, halves);
        std::vector<float> expected(given.size());
        std::vector<float> held = now.Floats();
        std::vector<uint16_t> held_halves = now.Halves();
        const Elements elements =
            halves ? Elements(DType::kBFloat16, held_halves.data(), held_halves.size())
                   : Elements(std::span(held));
        const bool usable = TakeProgress(given, elements, weight, expected);
        const DeviceArray<float> progress(given);
        const DeviceArray<uint32_t> unusable(1);
        TestBed::Get().Kernels(2).TakeProgress(
            *TestBed::Get().stream, {progress.data(), now.get(), given.size() / 4, weight,
                                     progress.data(), kMaxGradient, unusable.data()});
        EXPECT_EQ(unusable.Read()[0] == 0, usable) << bad;
        if (std::isnan(bad)) continue;  // of which there are many
        EXPECT_EQ(Bits(progress.Read()), Bits(expected));
      }
    }
  }
}

TEST(ProgressKernelTest, LooksForTheMark) {
  const DeviceArray<float> zeros(4096), progress(4096);
  const DeviceArray<uint32_t> mark(std::vector<uint32_t>{7});
  for (const uint32_t expected : {7u, 8u}) {
    const DeviceArray<uint32_t> unusable(1);
    TestBed::Get().Kernels(1).TakeProgress(*TestBed::Get().stream, {zeros.data(),
                                                                    {zeros.data(), false},
                                                                    1024,
                                                                    1.0f,
                                                                    progress.data(),
                                                                    1.0f,
                                                                    unusable.data(),
                                                                    mark.data(),
                                                                    expected});
    EXPECT_EQ(unusable.Read()[0], expected == 7 ? 0u : 1u);
  }
}

// In float32, and rounded once as the job holds it.
TEST(AddWayKernelTest, P29_KeepsTheWayThatAJobHasGoneSince) {
  Rng rng(64);
  for (const bool halves : {false, true}) {
    const std::vector<float> anchor = RandomVector(rng, 4096);
    const DeviceArray<float> device_anchor(anchor);
    const HeldArray then(RandomVector(rng, 4096), halves), now(RandomVector(rng, 4096), halves);
    const std::vector<float> from = then.Floats(), to = now.Floats();
    TestBed::Get().Kernels(1).AddWay(*TestBed::Get().stream,
                                     {device_anchor.data(), then.get(), now.get(), 1024});
    std::vector<float> expected;
    for (size_t i = 0; i < anchor.size(); ++i) {
      const float there = anchor[i] + (to[i] - from[i]);
      expected.push_back(halves ? naive::JobBfloat16(there) : there);
    }
    EXPECT_EQ(Bits(now.Floats()), Bits(expected));
  }
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
