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
      RankState state(run_, layout_, buckets_, {.rank = rank, .ranks = ranks});
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
  RankState state(run_, layout_, buckets_, {});
  state.Adopt(FloatVector(layout_.length(), 1.0f));
  UpdateHeader header;
  header.scalars = {{.lr = 0.0f, .decay = 0.5f}, {.lr = 0.0f, .decay = 0.25f}};
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    header.bucket = BucketIndex(b);
    const Extent extent = buckets_.bucket(header.bucket);
    const PayloadPlace place{0, extent.begin / run_.chunk_size, extent.size() / run_.chunk_size};
    const std::string payload = EncodeUpdate(MergedFormat(run_), place, {});
    const auto view =
        UpdateView::Parse(std::as_bytes(std::span(payload)), MergedFormat(run_), place);
    ASSERT_TRUE(view.ok()) << view.status();
    ASSERT_TRUE(state.Apply(header, *view).ok());
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
  RunSpec run = run_;
  run.decay = 1.0f;  // so that adding nothing changes nothing
  RankState state(run, layout_, buckets_, {.rank = 1, .ranks = 2});
  const BucketIndex bucket(0);
  const Extent part = state.part(bucket);
  const FloatVector all = CoarseVector(1, layout_);
  const std::span<const float> gradient = std::span(all).subspan(part.begin, part.size());
  const FloatVector nothing(part.size());
  const auto sent = [&](Round round, std::span<const float> added) {
    const auto payload = state.AccumulateAndExtract(round, bucket, added, 0.0f);
    const auto selection =
        DecodePayload(std::as_bytes(std::span(*payload)), ContributionFormat(run),
                      {round.value(), part.begin / run.chunk_size, part.size() / run.chunk_size});
    EXPECT_TRUE(selection.ok()) << selection.status();
    return selection->values;
  };
  const FloatVector first = sent(Round(1), gradient);
  state.Settle(Round(1), bucket, Credit::kReturn);
  state.Settle(Round(1), bucket, Credit::kReturn);  // nothing is left to return
  EXPECT_EQ(sent(Round(2), nothing), first);
  state.Settle(Round(2), bucket, Credit::kMerged);
  state.Settle(Round(2), bucket, Credit::kReturn);
  EXPECT_NE(sent(Round(3), nothing), first);
}

}  // namespace
}  // namespace isthmus
