// What every kind of ranks must do (test_ranks.h).
#include "worker/step/rank_state.h"

#include <gtest/gtest.h>

#include <deque>
#include <limits>

#include "tests/worker/step/test_group.h"

namespace isthmus {
namespace {

class RankStateTest : public testing::Test {
 protected:
  using States = std::vector<std::unique_ptr<RankState>>;

  States Make(LocalRanks& ranks, const RunSpec& run) {
    auto states = ranks.Make(
        run, layout_, ownerships_.emplace_back(Ownership::InEqualParts(buckets_, ranks.count())),
        {.ranks = ranks.count()});
    EXPECT_TRUE(states.ok()) << states.status();
    return *std::move(states);
  }
  FloatVector Masters(RankState& state) {
    FloatVector masters(layout_.length());
    EXPECT_TRUE(state.Save(std::as_writable_bytes(std::span(masters))).ok());
    return masters;
  }

  const Layout layout_ = MixedLayout();
  const RunSpec run_ = DemoRun();
  const Buckets buckets_ = *Buckets::Create(layout_.length(), run_.bucket_length);
  std::deque<Ownership> ownerships_;  // of the states that were made
};

TEST_F(RankStateTest, P3_RanksTogetherHoldEveryElementOnce) {
  for (uint32_t count = 1; count <= 5; ++count) {
    const FloatVector parameters = CoarseVector(1, layout_);
    std::vector<std::byte> image(parameters.size() * sizeof(float), std::byte(0xff));
    const std::vector<Round> no_rounds(buckets_.count());
    uint64_t elements = 0;
    const auto ranks = MakeTestRanks(count);
    for (const auto& state : Make(*ranks, run_)) {
      ASSERT_TRUE(state->Load(std::as_bytes(std::span(parameters)), true, no_rounds).ok());
      ASSERT_TRUE(state->Save(image).ok());
      elements += state->shard().length();
    }
    EXPECT_EQ(elements, layout_.length());
    EXPECT_EQ(std::memcmp(image.data(), parameters.data(), image.size()), 0);
  }
}

TEST_F(RankStateTest, P11_EachParameterGroupGetsItsOwnScalars) {
  const auto ranks = MakeTestRanks(1);
  const States states = Make(*ranks, run_);
  RankState& state = *states[0];
  FakeJob job(layout_, 1);
  std::ranges::fill(job.parameters(0).floats(), 1.0f);
  ASSERT_TRUE(state.Adopt(job).ok());
  UpdateHeader header;
  header.scalars = {{.lr = 0.0f, .decay = 0.5f}, {.lr = 0.0f, .decay = 0.25f}};
  for (uint32_t b = 0; b < buckets_.count(); ++b) {
    header.bucket = BucketIndex(b);
    const Extent extent = buckets_.bucket(header.bucket);
    const PayloadPlace place{
        0, {extent.begin / run_.format.chunk_size, extent.size() / run_.format.chunk_size}};
    const std::string payload = EncodeUpdate(RoundFormats(run_).MergedAt(Round(1)), place, {});
    const auto view = UpdateView::Parse(std::as_bytes(std::span(payload)),
                                        RoundFormats(run_).MergedAt(Round(1)), place);
    ASSERT_TRUE(view.ok()) << view.status();
    ASSERT_TRUE(state.Apply(header, *view).ok());
  }
  const FloatVector masters = Masters(state);
  for (const Layout::Segment& segment : layout_.segments()) {
    for (uint64_t i = segment.begin; i < segment.end; ++i) {
      ASSERT_EQ(masters[i], segment.parameter_group == 0 ? 0.5f : 0.25f) << i;
    }
  }
}

TEST_F(RankStateTest, P12_CreditIsSettledOnce) {
  RunSpec run = run_;
  run.decay = 1.0f;  // so that adding nothing changes nothing
  const auto ranks = MakeTestRanks(1);
  const States states = Make(*ranks, run);
  RankState& state = *states[0];
  const BucketIndex bucket(0);
  const Extent owned = state.shard().runs(bucket)[0].extent;
  FakeJob job(layout_, 1);
  const auto sent = [&](Round round, const FloatVector& gradient) {
    std::ranges::copy(gradient, job.gradients(0).floats().begin());
    const auto usable = state.Reduce(job, bucket, 1.0f);
    EXPECT_TRUE(usable.ok() && *usable) << usable.status();
    std::shared_ptr<const std::string> payload;
    EXPECT_TRUE(
        state.Extract(round, bucket, 0.0f, [&](const ChunkRun&, auto said) { payload = said; })
            .ok());
    EXPECT_TRUE(state.Finish().ok());
    const auto selection = DecodePayload(
        std::as_bytes(std::span(*payload)), RoundFormats(run).FormatAt(Round(1), GroupId(1)),
        {round.value(), owned.begin / run.format.chunk_size, owned.size() / run.format.chunk_size});
    EXPECT_TRUE(selection.ok()) << selection.status();
    return selection->values;
  };
  const FloatVector nothing(layout_.length());
  const FloatVector first = sent(Round(1), CoarseVector(1, layout_));
  state.Settle(Round(1), bucket, Credit::kReturn);
  state.Settle(Round(1), bucket, Credit::kReturn);  // nothing is left to return
  EXPECT_EQ(sent(Round(2), nothing), first);
  state.Settle(Round(2), bucket, Credit::kMerged);
  state.Settle(Round(2), bucket, Credit::kReturn);
  EXPECT_NE(sent(Round(3), nothing), first);
}

}  // namespace
}  // namespace isthmus
