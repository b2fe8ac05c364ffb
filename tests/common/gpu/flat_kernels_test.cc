#include "common/gpu/flat_kernels.h"

#include <gtest/gtest.h>

#include <limits>

#include "common/compression/state_hash.h"
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
