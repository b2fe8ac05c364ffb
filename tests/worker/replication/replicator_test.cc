#include "worker/replication/replicator.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/compression/dct.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

ReplicatorSpec DemoSpec(float decay = 0.999f) {
  return {{Transform::kDct, 64, 4, ValueFormat::kBf16}, decay, false};
}

ReplicatorSpec FullSpec(ValueFormat values = ValueFormat::kF32) {
  return {{Transform::kNone, 64, 64, values}, 0.999f, false};
}

// Three buckets of 3, 3 and 1 units.
Buckets SevenUnits() { return *Buckets::Create(7 * kUnitLength, 3 * kUnitLength); }

std::span<const float> PartOf(const std::vector<float>& flat, const Extent& extent) {
  return std::span(flat).subspan(extent.begin, extent.size());
}

// One accumulation of the flat gradient by each of `ranks` ranks, and what they then send of
// `bucket`, in the order of the chunks.
Selection UnionOfRanks(const Buckets& buckets, const std::vector<float>& gradient,
                       BucketIndex bucket, uint32_t ranks) {
  Selection all;
  all.first_chunk = buckets.bucket(bucket).begin / 64;
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    const auto replicator = MakeDemoReplicator(DemoSpec(), buckets, rank, ranks);
    const Extent extent = buckets.part(bucket, rank, ranks);
    replicator->Accumulate(bucket, PartOf(gradient, extent), 0.0f);
    const Selection taken = replicator->Extract(bucket);
    EXPECT_EQ(taken.first_chunk, extent.begin / 64);
    EXPECT_EQ(taken.chunk_count, extent.size() / 64);
    EXPECT_EQ(taken.first_chunk, all.first_chunk + all.chunk_count);
    all.chunk_count += taken.chunk_count;
    all.indices.insert(all.indices.end(), taken.indices.begin(), taken.indices.end());
    all.values.insert(all.values.end(), taken.values.begin(), taken.values.end());
  }
  return all;
}

TEST(DemoReplicatorTest, P21_AnyNumberOfRanksSelectsTheSame) {
  Rng rng(1);
  const Buckets buckets = SevenUnits();
  const std::vector<float> gradient = RandomVector(rng, buckets.length());
  for (uint32_t b = 0; b < buckets.count(); ++b) {
    const Selection one = UnionOfRanks(buckets, gradient, BucketIndex(b), 1);
    EXPECT_EQ(one.chunk_count, buckets.bucket(BucketIndex(b)).size() / 64);
    for (uint32_t ranks : {2, 3, 5}) {  // some parts are empty
      const Selection many = UnionOfRanks(buckets, gradient, BucketIndex(b), ranks);
      EXPECT_EQ(many.chunk_count, one.chunk_count);
      EXPECT_EQ(many.indices, one.indices);
      EXPECT_EQ(Bits(many.values), Bits(one.values));
    }
  }
}

TEST(DemoReplicatorTest, P23_NothingIsLost) {
  Rng rng(2);
  const Buckets buckets = SevenUnits();
  const BucketIndex bucket(1);
  const auto replicator = MakeDemoReplicator(DemoSpec(1.0f), buckets, 1, 2);
  const size_t length = buckets.part(bucket, 1, 2).size();
  std::vector<double> accumulated(length);
  std::vector<double> sent(length);
  const auto send = [&] {
    const Selection taken = replicator->Extract(bucket);
    for (size_t i = 0; i < taken.values.size(); ++i) {
      sent[i / 4 * 64 + taken.indices[i]] += static_cast<double>(taken.values[i]);
    }
  };
  for (int step = 0; step < 20; ++step) {
    const std::vector<float> gradient = RandomVector(rng, length);
    std::vector<float> transformed(length);
    ForwardDct(64, gradient, transformed);
    for (size_t i = 0; i < length; ++i) accumulated[i] += static_cast<double>(transformed[i]);
    replicator->Accumulate(bucket, gradient, 0.0f);
    send();
  }
  // What is left goes out bit by bit; bf16 says an eighth of the mantissa at a time.
  for (int step = 0; step < 100; ++step) send();
  for (size_t i = 0; i < length; ++i) ASSERT_NEAR(sent[i], accumulated[i], 1e-4) << i;
}

TEST(DemoReplicatorTest, P12_ReturnedSelectionIsSentAgainUnchanged) {
  Rng rng(3);
  const Buckets buckets = SevenUnits();
  const auto replicator = MakeDemoReplicator(DemoSpec(), buckets, 0, 1);
  const BucketIndex bucket(0);
  replicator->Accumulate(bucket, RandomVector(rng, buckets.bucket(bucket).size()), 0.0f);
  const Selection first = replicator->Extract(bucket);
  const Selection second = replicator->Extract(bucket);
  replicator->Return(bucket, second);
  replicator->Return(bucket, first);
  const Selection again = replicator->Extract(bucket);
  EXPECT_EQ(again.indices, first.indices);
  EXPECT_EQ(Bits(again.values), Bits(first.values));
}

TEST(DemoReplicatorTest, P17_LearningRateEntersOnlyWhereAsked) {
  Rng rng(4);
  const Buckets buckets = *Buckets::Create(kUnitLength, 0);
  const std::vector<float> gradient = RandomVector(rng, kUnitLength);
  ReplicatorSpec spec = DemoSpec();
  spec.format.values = ValueFormat::kF32;
  const auto extract = [&](bool lr_in_momentum, float lr) {
    spec.lr_in_momentum = lr_in_momentum;
    const auto replicator = MakeDemoReplicator(spec, buckets, 0, 1);
    replicator->Accumulate(BucketIndex(0), gradient, lr);
    return replicator->Extract(BucketIndex(0)).values;
  };
  std::vector<float> halved = extract(false, 0.5f);
  EXPECT_EQ(halved, extract(false, 0.25f));
  for (float& value : halved) value *= 0.5f;
  EXPECT_EQ(extract(true, 0.5f), halved);
}

TEST(DemoReplicatorTest, ResetForgets) {
  Rng rng(5);
  const Buckets buckets = SevenUnits();
  const auto replicator = MakeDemoReplicator(DemoSpec(), buckets, 0, 1);
  replicator->Accumulate(BucketIndex(2), RandomVector(rng, kUnitLength), 0.0f);
  replicator->Reset();
  const Selection taken = replicator->Extract(BucketIndex(2));
  EXPECT_EQ(taken.values, std::vector<float>(taken.values.size()));
}

TEST(DemoReplicatorTest, AnEmptyPartSendsNothing) {
  const Buckets buckets = *Buckets::Create(kUnitLength, 0);
  const auto replicator = MakeDemoReplicator(DemoSpec(), buckets, 0, 2);
  replicator->Accumulate(BucketIndex(0), {}, 0.0f);
  const Selection taken = replicator->Extract(BucketIndex(0));
  EXPECT_EQ(taken.chunk_count, 0u);
  EXPECT_TRUE(taken.values.empty());
  replicator->Return(BucketIndex(0), taken);
}

TEST(FullReplicatorTest, SendsTheWholeGradient) {
  Rng rng(6);
  const Buckets buckets = SevenUnits();
  const auto replicator = MakeFullReplicator(FullSpec(), buckets, 1, 2);
  const BucketIndex bucket(1);
  const Extent extent = buckets.part(bucket, 1, 2);
  const std::vector<float> gradient = RandomVector(rng, extent.size());
  replicator->Accumulate(bucket, gradient, 0.5f);
  const Selection taken = replicator->Extract(bucket);
  EXPECT_EQ(taken.first_chunk, extent.begin / 64);
  EXPECT_EQ(taken.chunk_count, extent.size() / 64);
  EXPECT_TRUE(taken.indices.empty());
  EXPECT_EQ(taken.values, gradient);
  const Selection rest = replicator->Extract(bucket);
  EXPECT_EQ(rest.values, std::vector<float>(gradient.size()));
}

TEST(FullReplicatorTest, ReturnedGradientGoesWithTheNext) {
  const Buckets buckets = *Buckets::Create(kUnitLength, 0);
  const auto replicator = MakeFullReplicator(FullSpec(), buckets, 0, 1);
  const BucketIndex bucket(0);
  replicator->Accumulate(bucket, std::vector<float>(kUnitLength, 1.0f), 0.0f);
  const Selection late = replicator->Extract(bucket);
  replicator->Accumulate(bucket, std::vector<float>(kUnitLength, 2.0f), 0.0f);
  replicator->Return(bucket, late);
  EXPECT_EQ(replicator->Extract(bucket).values, std::vector<float>(kUnitLength, 3.0f));
}

TEST(FullReplicatorTest, P19_RoundingIsKeptForTheNext) {
  Rng rng(7);
  const Buckets buckets = *Buckets::Create(kUnitLength, 0);
  const auto replicator = MakeFullReplicator(FullSpec(ValueFormat::kBf16), buckets, 0, 1);
  const std::vector<float> gradient = RandomVector(rng, kUnitLength);
  replicator->Accumulate(BucketIndex(0), gradient, 0.0f);
  std::vector<float> sum(kUnitLength);
  for (int round = 0; round < 4; ++round) {
    const Selection taken = replicator->Extract(BucketIndex(0));
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += taken.values[i];
  }
  EXPECT_EQ(sum, gradient);
}

}  // namespace
}  // namespace isthmus
