#include "worker/replication/replicator.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/compression/dct.h"
#include "tests/common/compression/test_data.h"

namespace isthmus {
namespace {

RunSpec DemoRun(float decay = 0.999f) {
  RunSpec run = DefaultRunSpec(Scheme::kFlexDemo);
  run.format.all.k = 4;
  run.format.all.values = ValueFormat::kBf16;
  run.decay = decay;
  return run;
}

RunSpec FullRun(ValueFormat values = ValueFormat::kF32) {
  RunSpec run = DefaultRunSpec(Scheme::kFull);
  run.format.all.values = values;
  return run;
}

// Three buckets of 3, 3 and 1 units.
Buckets SevenUnits() { return *Buckets::Create(7 * kUnitLength, 3 * kUnitLength); }
Buckets OneUnit() { return *Buckets::Create(kUnitLength, 0); }

std::span<const float> PartOf(const std::vector<float>& flat, const Extent& extent) {
  return std::span(flat).subspan(extent.begin, extent.size());
}

// What `taken` says of the part, which is `extent`.
Selection Said(const Extraction& taken, Round round, const Extent& extent) {
  const uint32_t size = taken.format.chunk_size;
  const auto selection = DecodePayload(AsBytes(*taken.payload), taken.format,
                                       {round.value(), extent.begin / size, extent.size() / size});
  EXPECT_TRUE(selection.ok()) << selection.status();
  return selection.value_or(Selection());
}

// A replicator at one of equal parts of a bucket.
struct OnePart {
  OnePart(const RunSpec& run, const Buckets& buckets, BucketIndex bucket, uint32_t rank = 0,
          uint32_t ranks = 1, const ReplicatorPlace& place = {})
      : shard(Ownership::InEqualParts(buckets, ranks), rank),
        replicator(MakeReplicator(run, shard, place)),
        format(RoundFormats(run).FormatAt(Round(1), GroupId(1))),
        index(shard.first_run(bucket)),
        extent(shard.runs(bucket)[0].extent) {}
  Extraction Take(uint64_t round, std::span<const float> gradient, float lr = 0.0f) {
    return replicator->AccumulateAndExtract(format, Round(round), index, gradient, lr);
  }
  // Without a gradient: with decay 1 that leaves the momentum as it is.
  Extraction TakeMore(uint64_t round) { return Take(round, std::vector<float>(extent.size())); }
  Selection Said(const Extraction& taken, uint64_t round) const {
    return isthmus::Said(taken, Round(round), extent);
  }
  void Return(uint64_t round, const Extraction& taken) {
    replicator->Return(Round(round), index, taken);
  }

  const Shard shard;
  const std::unique_ptr<Replicator> replicator;
  PayloadFormat format;  // of the next
  const size_t index;    // of the run
  const Extent extent;
};

// What each of `ranks` ranks sends of `bucket`, in the order of the chunks.
Selection UnionOfRanks(const Buckets& buckets, const std::vector<float>& gradient,
                       BucketIndex bucket, uint32_t ranks) {
  Selection all;
  const Ownership ownership = Ownership::InEqualParts(buckets, ranks);
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    if (ownership.of(bucket).size(rank) == 0) continue;
    OnePart part(DemoRun(), buckets, bucket, rank, ranks);
    const Selection said =
        part.Said(part.Take(1, PartOf(gradient, part.extent)), 1);  // checks its place
    all.chunk_count += said.chunk_count;
    all.indices.insert(all.indices.end(), said.indices.begin(), said.indices.end());
    all.values.insert(all.values.end(), said.values.begin(), said.values.end());
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

// Runs them on as many threads, the last index first.
void OnThreads(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = count - 1; i >= 0; --i) threads.emplace_back([&body, i] { body(i); });
  for (std::thread& thread : threads) thread.join();
}

TEST(DemoReplicatorTest, P21_AnyNumberOfThreadsSendsTheSameBytes) {
  for (const ValueFormat values : kValueFormats) {
    RunSpec run = DemoRun();
    run.format.all.values = values;
    const Buckets buckets = SevenUnits();
    // What each round sends, and takes in exact numbers.
    using Sent = std::vector<std::pair<std::string, std::vector<uint32_t>>>;
    const auto sent_by = [&](int threads) {
      Rng rng(8);
      OnePart part(run, buckets, BucketIndex(1), 0, 1,
                   {.threads = threads, .parallel = threads == 1 ? nullptr : OnThreads});
      Sent sent;
      for (uint64_t round = 1; round <= 4; ++round) {
        const Extraction taken = part.Take(round, AdversarialVector(rng, 64, 3 * kUnitLength / 64));
        sent.emplace_back(*taken.payload, Bits(taken.exact));
        if (round == 2) part.Return(round, taken);
      }
      return sent;
    };
    const Sent one = sent_by(1);
    for (const int threads : {2, 3, 5, 16}) EXPECT_EQ(sent_by(threads), one) << threads;
  }
}

TEST(DemoReplicatorTest, P23_NothingIsLost) {
  Rng rng(2);
  OnePart part(DemoRun(1.0f), SevenUnits(), BucketIndex(1), 1, 2);
  const size_t length = part.extent.size();
  std::vector<double> accumulated(length);
  std::vector<double> sent(length);
  uint64_t round = 0;
  const auto send = [&](const std::vector<float>& gradient) {
    ++round;
    const Selection said = part.Said(part.Take(round, gradient), round);
    for (size_t i = 0; i < said.values.size(); ++i) {
      sent[i / 4 * 64 + said.indices[i]] += static_cast<double>(said.values[i]);
    }
  };
  for (int step = 0; step < 20; ++step) {
    const std::vector<float> gradient = RandomVector(rng, length);
    std::vector<float> transformed(length);
    ForwardDct(64, gradient, transformed);
    for (size_t i = 0; i < length; ++i) accumulated[i] += static_cast<double>(transformed[i]);
    if (step % 3 == 2) {
      part.replicator->Accumulate(part.format, part.index, gradient, 0.0f);
    } else {
      send(gradient);
    }
  }
  // What is left goes out bit by bit; bf16 says an eighth of the mantissa at a time.
  for (int step = 0; step < 100; ++step) send(std::vector<float>(length));
  for (size_t i = 0; i < length; ++i) ASSERT_NEAR(sent[i], accumulated[i], 1e-4) << i;
}

TEST(DemoReplicatorTest, P12_ReturnedSelectionIsSentAgainUnchanged) {
  for (const uint32_t k : {4u, 64u}) {  // 64: all coefficients, by another replicator
    for (const ValueFormat values : {ValueFormat::kF32, ValueFormat::kBf16, ValueFormat::kSign}) {
      Rng rng(3);
      RunSpec run = DemoRun(1.0f);
      run.format.all.k = k;
      run.format.all.values = values;
      OnePart part(run, SevenUnits(), BucketIndex(0));
      const Extraction first = part.Take(1, RandomVector(rng, part.extent.size()));
      const Extraction second = part.TakeMore(2);
      part.Return(2, second);
      part.Return(1, first);
      const Extraction again = part.TakeMore(1);
      EXPECT_EQ(*again.payload, *first.payload);
      EXPECT_EQ(Bits(again.exact), Bits(first.exact));
      EXPECT_EQ(first.exact.empty(), values != ValueFormat::kSign);
    }
  }
}

TEST(DemoReplicatorTest, AlphaIsTheShareThatLeavesTheMomentum) {
  Rng rng(9);
  RunSpec run = DemoRun(1.0f);
  run.format.all.values = ValueFormat::kF32;
  run.alpha = 0.25f;
  for (const uint32_t k : {4u, 64u}) {
    run.format.all.k = k;
    OnePart part(run, OneUnit(), BucketIndex(0));
    const Selection first = part.Said(part.Take(1, RandomVector(rng, kUnitLength)), 1);
    const Extraction taken = part.TakeMore(2);
    const Selection second = part.Said(taken, 2);
    if (k == 64) {  // the same elements again
      for (size_t i = 0; i < first.values.size(); ++i) {
        ASSERT_FLOAT_EQ(second.values[i], 0.75f * first.values[i]);
      }
    }
    part.Return(2, taken);
    const Selection again = part.Said(part.TakeMore(3), 3);
    EXPECT_EQ(again.indices, second.indices);
    for (size_t i = 0; i < again.values.size(); ++i) {
      ASSERT_FLOAT_EQ(again.values[i], second.values[i]);
    }
  }
}

TEST(DemoReplicatorTest, P17_LearningRateEntersOnlyWhereAsked) {
  Rng rng(4);
  const std::vector<float> gradient = RandomVector(rng, kUnitLength);
  for (const Scheme scheme : {Scheme::kFlexDemo, Scheme::kRandom}) {
    RunSpec run = DefaultRunSpec(scheme);
    run.format.all.values = ValueFormat::kF32;
    const auto extract = [&](bool lr_in_momentum, float lr) {
      run.lr_in_momentum = lr_in_momentum;
      OnePart part(run, OneUnit(), BucketIndex(0));
      return part.Said(part.Take(1, gradient, lr), 1).values;
    };
    std::vector<float> halved = extract(false, 0.5f);
    EXPECT_EQ(halved, extract(false, 0.25f));
    for (float& value : halved) value *= 0.5f;
    EXPECT_EQ(extract(true, 0.5f), halved);
  }
}

TEST(ReplicatorTest, ResetForgets) {
  Rng rng(5);
  for (const Scheme scheme : {Scheme::kFlexDemo, Scheme::kFull, Scheme::kRandom, Scheme::kStriding,
                              Scheme::kSlicing, Scheme::kNone}) {
    OnePart part(DefaultRunSpec(scheme), SevenUnits(), BucketIndex(2));
    part.replicator->Accumulate(part.format, part.index, RandomVector(rng, kUnitLength), 0.0f);
    part.replicator->Reset();
    const Selection said = part.Said(part.TakeMore(1), 1);
    EXPECT_EQ(said.values, std::vector<float>(said.values.size())) << Name(scheme);
  }
}

// --- schemes whose positions are known ---------------------------------------------------------

struct KnownCase {
  Scheme scheme;
  uint32_t chunk_size;
  uint32_t k;
};
constexpr KnownCase kKnown[] = {{Scheme::kRandom, 64, 8},   {Scheme::kRandom, 128, 1},
                                {Scheme::kStriding, 64, 8}, {Scheme::kStriding, 16, 8},
                                {Scheme::kSlicing, 64, 8},  {Scheme::kSlicing, 4096, 1024}};

RunSpec KnownRun(const KnownCase& known, ValueFormat values) {
  RunSpec run = DefaultRunSpec(known.scheme);
  run.format.chunk_size = known.chunk_size;
  run.format.all.k = known.k;
  run.decay = 1.0f;
  run.format.all.values = values;
  run.seed = 11;
  return run;
}

// Calls `each`(element of the part, i-th value) for what a round sends.
void ForEachSent(const OnePart& part, uint64_t round,
                 const std::function<void(size_t, size_t)>& each) {
  const PayloadFormat& format = part.format;
  const uint64_t first = part.extent.begin / format.chunk_size;
  std::vector<uint16_t> offsets(format.k);
  for (uint64_t chunk = 0; chunk < part.extent.size() / format.chunk_size; ++chunk) {
    KnownPositions(format, round, first + chunk, offsets.data());
    for (size_t i = 0; i < format.k; ++i) {
      each(chunk * format.chunk_size + offsets[i], chunk * format.k + i);
    }
  }
}

TEST(PositionsReplicatorTest, SendsEveryElementOnceInItsRounds) {
  for (const KnownCase& known : kKnown) {
    for (const ValueFormat values : {ValueFormat::kF32, ValueFormat::kSign}) {
      Rng rng(6);
      const RunSpec run = KnownRun(known, values);
      OnePart part(run, SevenUnits(), BucketIndex(1), 1, 2);
      const size_t length = part.extent.size();
      const std::vector<float> gradient = RandomVector(rng, length);
      const uint64_t rounds = run.format.chunk_size / run.format.all.k;
      const uint64_t begin = 4 * rounds;  // where a cycle begins
      std::vector<int> sent(length);
      for (uint64_t round = begin; round < begin + rounds; ++round) {
        const Extraction taken = round == begin ? part.Take(round, gradient) : part.TakeMore(round);
        const Selection said = part.Said(taken, round);
        const bool exact = values == ValueFormat::kSign;
        ASSERT_EQ(taken.exact.size(), exact ? said.values.size() : 0);
        ForEachSent(part, round, [&](size_t element, size_t i) {
          ++sent[element];
          ASSERT_EQ(exact ? taken.exact[i] : said.values[i], gradient[element]);
          const float sign = gradient[element] < 0 ? -1.0f : 1.0f;
          ASSERT_EQ(said.values[i], exact ? sign : gradient[element]);
        });
      }
      EXPECT_EQ(sent, std::vector<int>(length, 1)) << Name(known.scheme);
      // Nothing is left.
      const Selection rest = part.Said(part.TakeMore(begin), begin);
      EXPECT_EQ(rest.values, std::vector<float>(rest.values.size()));
    }
  }
}

TEST(PositionsReplicatorTest, P12_WhatIsReturnedIsSentAgainUnchanged) {
  for (const KnownCase& known : kKnown) {
    for (const ValueFormat values : {ValueFormat::kF32, ValueFormat::kBf16, ValueFormat::kSign}) {
      Rng rng(7);
      OnePart part(KnownRun(known, values), SevenUnits(), BucketIndex(0));
      const std::vector<float> gradient = RandomVector(rng, part.extent.size());
      const Extraction first = part.Take(9, gradient);
      const Extraction second = part.TakeMore(10);
      part.Return(9, first);
      part.Return(10, second);
      const Extraction again = part.TakeMore(9);
      EXPECT_EQ(*again.payload, *first.payload) << Name(known.scheme);
      EXPECT_EQ(Bits(again.exact), Bits(first.exact)) << Name(known.scheme);
    }
  }
}

// --- all of it, and nothing --------------------------------------------------------------------

TEST(FullReplicatorTest, SendsTheWholeGradient) {
  Rng rng(6);
  OnePart part(FullRun(), SevenUnits(), BucketIndex(1), 1, 2);
  const std::vector<float> gradient = RandomVector(rng, part.extent.size());
  const Selection said = part.Said(part.Take(1, gradient, 0.5f), 1);
  EXPECT_EQ(said.first_chunk, part.extent.begin / kUnitLength);
  EXPECT_EQ(said.chunk_count, part.extent.size() / kUnitLength);
  EXPECT_TRUE(said.indices.empty());
  EXPECT_EQ(said.values, gradient);
  EXPECT_EQ(part.Said(part.TakeMore(2), 2).values, std::vector<float>(gradient.size()));
}

TEST(FullReplicatorTest, ReturnedGradientGoesWithTheNext) {
  OnePart part(FullRun(), OneUnit(), BucketIndex(0));
  const Extraction late = part.Take(1, std::vector<float>(kUnitLength, 1.0f));
  part.replicator->Accumulate(part.format, part.index, std::vector<float>(kUnitLength, 2.0f), 0.0f);
  part.Return(1, late);
  EXPECT_EQ(part.Said(part.TakeMore(2), 2).values, std::vector<float>(kUnitLength, 3.0f));
}

TEST(FullReplicatorTest, P19_RoundingIsKeptForTheNext) {
  Rng rng(7);
  OnePart part(FullRun(ValueFormat::kBf16), OneUnit(), BucketIndex(0));
  const std::vector<float> gradient = RandomVector(rng, kUnitLength);
  std::vector<float> sum(kUnitLength);
  for (uint64_t round = 1; round <= 4; ++round) {
    const Extraction taken = round == 1 ? part.Take(round, gradient) : part.TakeMore(round);
    const Selection said = part.Said(taken, round);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += said.values[i];
  }
  EXPECT_EQ(sum, gradient);
}

TEST(NoneReplicatorTest, SendsNothingAndAppliesItsOwn) {
  Rng rng(12);
  OnePart part(DefaultRunSpec(Scheme::kNone), SevenUnits(), BucketIndex(1));
  const PayloadFormat& format = part.format;
  const uint64_t chunks = part.extent.size() / format.chunk_size;
  const std::vector<float> gradient = RandomVector(rng, part.extent.size());
  const Extraction taken = part.Take(1, gradient);
  // A presence map without a chunk, and that is all.
  EXPECT_EQ(taken.payload->size(), PayloadBytes(format, 0) + (chunks + 7) / 8);
  EXPECT_EQ(part.Said(taken, 1).values, std::vector<float>(gradient.size()));
  ASSERT_NE(taken.own, nullptr);
  Extraction own{.format = format};
  own.payload = taken.own;
  EXPECT_EQ(part.Said(own, 1).values, gradient);
  // What missed its round goes with the next.
  part.Return(1, taken);
  own.payload = part.TakeMore(2).own;
  EXPECT_EQ(part.Said(own, 2).values, gradient);
  for (const Scheme scheme : {Scheme::kFlexDemo, Scheme::kFull, Scheme::kRandom}) {
    OnePart other(DefaultRunSpec(scheme), OneUnit(), BucketIndex(0));
    EXPECT_EQ(other.TakeMore(1).own, nullptr);
  }
}

}  // namespace
}  // namespace isthmus
