// What a job was given, where it was, and the way between.
#include "worker/step/job_progress.h"

#include <gtest/gtest.h>

#include <cstring>

#include "common/base/rng.h"
#include "common/kernels/bfloat16.h"

namespace isthmus {
namespace {

constexpr BucketIndex kBucket0(0);

TEST(WhereTakenTest, P29_AWayIsAddedAsTheJobHoldsIt) {
  Rng rng(6);
  std::vector<float> anchor(1000);
  std::vector<uint16_t> then(1000), now(1000);
  for (size_t i = 0; i < anchor.size(); ++i) {
    anchor[i] = static_cast<float>(rng.Uniform() - 0.5);
    then[i] = now[i] = ToBfloat16(static_cast<float>(rng.Uniform()));
  }
  now[3] = ToBfloat16(FromBfloat16(then[3]) + 0.25f);
  const float moved = FromBfloat16(now[3]) - FromBfloat16(then[3]);
  std::vector<uint16_t> kept(1000);
  WhereTaken taken({DType::kBFloat16, kept.data(), 1000}, 2);
  EXPECT_FALSE(taken.Has(kBucket0));
  std::ranges::copy(std::span(then).first(600), taken.Keep(kBucket0, {0, 600}).halves().begin());
  std::ranges::copy(std::span(then).last(400),
                    taken.Keep(BucketIndex(1), {600, 1000}).halves().begin());
  EXPECT_TRUE(taken.Has(kBucket0));
  AddWaySince(anchor, taken.Of({0, 1000}), {DType::kBFloat16, now.data(), 1000});
  for (size_t i = 0; i < anchor.size(); ++i) {
    ASSERT_EQ(now[i], ToBfloat16(anchor[i] + (i == 3 ? moved : 0.0f))) << i;
  }
  taken.Forget(kBucket0);
  EXPECT_FALSE(taken.Has(kBucket0));
  taken.Clear();
  EXPECT_FALSE(taken.Has(BucketIndex(1)));
  EXPECT_FALSE(WhereTaken().Has(kBucket0));
}

TEST(GivenParametersTest, RemembersOnceAndOnlyForAJob) {
  int masters = 1;
  GivenParameters<int> given;
  const auto keep = [&] { return masters; };
  given.StaysBehind(kBucket0, keep);  // nobody was given anything
  EXPECT_EQ(given.Kept(kBucket0), nullptr);
  given.Gave(kBucket0);
  given.StaysBehind(kBucket0, keep);
  masters = 5;
  given.StaysBehind(kBucket0, keep);
  ASSERT_NE(given.Kept(kBucket0), nullptr);
  EXPECT_EQ(*given.Kept(kBucket0), 1);
  given.Gave(kBucket0);
  EXPECT_EQ(given.Kept(kBucket0), nullptr);
  given.StaysBehind(kBucket0, keep);
  given.Release();
  EXPECT_EQ(given.Kept(kBucket0), nullptr);
}

TEST(GiveWithWayTest, P29_AWayIsAddedOnceAndOnlyWhereTheJobWentOn) {
  std::vector<float> kept(8);
  GivenParameters<int> given;
  WhereTaken taken(std::span<float>(kept), 1);
  const auto behind = [&] { return given.Kept(kBucket0) != nullptr; };
  given.Gave(kBucket0);
  EXPECT_FALSE(GiveWithWay(kBucket0, Gathering::kWithWay, given, taken)) << "it stayed";
  taken.Keep(kBucket0, {0, 8});
  given.StaysBehind(kBucket0, [] { return 1; });
  EXPECT_FALSE(GiveWithWay(kBucket0, Gathering::kShow, given, taken));
  EXPECT_TRUE(taken.Has(kBucket0) && behind()) << "shown, and nothing else";
  EXPECT_TRUE(GiveWithWay(kBucket0, Gathering::kWithWay, given, taken));
  EXPECT_FALSE(taken.Has(kBucket0) || behind());
  taken.Keep(kBucket0, {0, 8});
  EXPECT_FALSE(GiveWithWay(kBucket0, Gathering::kAnchor, given, taken));
  EXPECT_FALSE(taken.Has(kBucket0));
}

}  // namespace
}  // namespace isthmus
