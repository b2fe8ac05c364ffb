#include "worker/step/rank_state.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/worker/step/test_group.h"

namespace isthmus {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(AllUsableTest, P18_NaNInfinityAndTheHugeFail) {
  FloatVector gradient(1000, 1.0f);
  gradient[3] = kMaxGradient;
  gradient[4] = -kMaxGradient;
  EXPECT_TRUE(AllUsable(gradient));
  EXPECT_TRUE(AllUsable({}));
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInf, -kInf,
                          std::nextafter(kMaxGradient, kInf), -2e30f}) {
    for (const size_t i : {0u, 500u, 999u}) {
      FloatVector hit = gradient;
      hit[i] = bad;
      EXPECT_FALSE(AllUsable(hit)) << bad << " at " << i;
    }
  }
}

class RankStateTest : public testing::Test {
 protected:
  const Layout layout_ = MixedLayout();
  const RunSpec run_ = DemoRun();
  const Buckets buckets_ = *Buckets::Create(layout_.length(), run_.bucket_length);
};

TEST_F(RankStateTest, P3_RanksTogetherHoldEveryElementOnce) {
  for (uint32_t ranks = 1; ranks <= 5; ++ranks) {
    const FloatVector parameters = CoarseVector(1, layout_);
    std::vector<std::byte> image(parameters.size() * sizeof(float), std::byte(0xff));
    uint64_t elements = 0;
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      RankState state(run_, layout_, buckets_, rank, ranks);
      state.Adopt(parameters);
      state.Save(image);
      for (uint32_t b = 0; b < buckets_.count(); ++b) {
        elements += state.masters(BucketIndex(b)).size();
      }
    }
    EXPECT_EQ(elements, layout_.length());
    EXPECT_EQ(std::memcmp(image.data(), parameters.data(), image.size()), 0);
  }
}

TEST_F(RankStateTest, P11_EachParameterGroupGetsItsOwnScalars) {
  RankState state(run_, layout_, buckets_, 0, 1);
  state.Adopt(FloatVector(layout_.length(), 1.0f));
  UpdateHeader header;
  header.scalars = {{.lr = 0.0f, .decay = 0.5f}, {.lr = 0.0f, .decay = 0.25f}};
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    header.bucket = BucketIndex(b);
    const Extent extent = buckets_.bucket(header.bucket);
    const uint64_t first = extent.begin / run_.chunk_size;
    const uint64_t count = extent.size() / run_.chunk_size;
    const MergedBucket nothing{first, count, FloatVector(extent.size()),
                               std::vector<uint8_t>(count)};
    const std::string payload = EncodeUpdate(MergedFormat(run_), nothing);
    const auto view =
        UpdateView::Parse(std::as_bytes(std::span(payload)), MergedFormat(run_), first, count);
    ASSERT_TRUE(view.ok()) << view.status();
    state.Apply(header, *view);
  }
  for (const Layout::Segment& segment : layout_.segments()) {
    for (uint64_t i = segment.begin; i < segment.end; ++i) {
      const BucketIndex bucket(static_cast<uint32_t>(i / buckets_.bucket_length()));
      const float p = state.masters(bucket)[i - buckets_.bucket(bucket).begin];
      ASSERT_EQ(p, segment.parameter_group == 0 ? 0.5f : 0.25f) << i;
    }
  }
}

TEST_F(RankStateTest, P12_CreditIsSettledOnce) {
  RankState state(run_, layout_, buckets_, 1, 2);
  const BucketIndex bucket(0);
  const FloatVector gradient(state.part(bucket).size(), 1.0f);
  state.Accumulate(bucket, gradient, 0.0f);
  const std::string first = state.Extract(Round(1), bucket);
  state.Settle(Round(1), bucket, Credit::kReturn);
  state.Settle(Round(1), bucket, Credit::kReturn);  // nothing is left to return
  EXPECT_EQ(state.Extract(Round(2), bucket), first);
  state.Settle(Round(2), bucket, Credit::kMerged);
  state.Settle(Round(2), bucket, Credit::kReturn);
  EXPECT_NE(state.Extract(Round(3), bucket), first);
}

}  // namespace
}  // namespace isthmus
