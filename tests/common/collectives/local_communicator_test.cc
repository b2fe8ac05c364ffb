#include "common/collectives/local_communicator.h"

#include <gtest/gtest.h>

#include <bit>
#include <functional>
#include <thread>
#include <utility>

#include "common/base/rng.h"
#include "tests/common/tensor/partitions.h"

namespace isthmus {
namespace {

using Vectors = std::vector<std::vector<float>>;

// Runs `body` at every rank, each on its own thread.
void AtEveryRank(uint32_t size, const std::function<void(Communicator&)>& body) {
  const auto communicators = MakeLocalCommunicators(size);
  std::vector<std::thread> threads;
  for (const auto& communicator : communicators) {
    threads.emplace_back([&body, &communicator] { body(*communicator); });
  }
  for (std::thread& thread : threads) thread.join();
}

// Of very different magnitudes, so that another order of summation shows.
Vectors RandomInputs(uint64_t seed, uint32_t size, size_t length) {
  Rng rng(seed);
  Vectors inputs(size, std::vector<float>(length));
  for (auto& input : inputs) {
    for (float& value : input) {
      value = static_cast<float>((rng.Uniform() - 0.5) * static_cast<double>(1 << rng.Below(20)));
    }
  }
  return inputs;
}

// The specification, as plainly as can be.
std::vector<float> PlainMean(const Vectors& inputs) {
  std::vector<float> mean = inputs[0];
  for (size_t i = 0; i < mean.size(); ++i) {
    for (size_t rank = 1; rank < inputs.size(); ++rank) mean[i] += inputs[rank][i];
    mean[i] /= static_cast<float>(inputs.size());
  }
  return mean;
}

void ExpectSameBits(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(actual[i]), std::bit_cast<uint32_t>(expected[i])) << i;
  }
}

TEST(LocalCommunicatorTest, P21_MeanIsSummedInRankOrderBitForBit) {
  for (uint32_t size = 1; size <= 5; ++size) {
    for (const size_t length : {1u, 7u, 4096u, 10001u}) {
      Vectors inputs = RandomInputs(size * 100 + length, size, length);
      const Partition whole = RandomPartition(size + length, size, length);
      std::vector<float> result(length);
      AtEveryRank(size, [&](Communicator& communicator) {
        const uint32_t rank = communicator.rank();
        std::vector<float> output(whole.size(rank));
        EXPECT_TRUE(communicator.ReduceScatterMean(std::span(inputs[rank]), whole, output).ok());
        Unpack<float>(output, whole, rank, result);
      });
      ExpectSameBits(result, PlainMean(inputs));
    }
  }
}

TEST(LocalCommunicatorTest, EveryRankGathersWhatAllHave) {
  constexpr size_t kLength = 5000;
  for (uint32_t size = 1; size <= 5; ++size) {
    const std::vector<float> whole = RandomInputs(size, 1, kLength)[0];
    const Partition partition = RandomPartition(size, size, kLength);
    Vectors outputs(size, std::vector<float>(kLength));
    AtEveryRank(size, [&](Communicator& communicator) {
      const uint32_t rank = communicator.rank();
      EXPECT_EQ(communicator.size(), size);
      const std::vector<float> input = Packed(whole, partition, rank);
      EXPECT_TRUE(communicator.AllGather(input, partition, std::span(outputs[rank])).ok());
    });
    for (const auto& output : outputs) ExpectSameBits(output, whole);
  }
}

// Sums are float32; only what is gathered is rounded.
TEST(LocalCommunicatorTest, Bfloat16) {
  constexpr uint32_t kSize = 3;
  std::vector<std::vector<uint16_t>> inputs;
  for (uint32_t rank = 0; rank < kSize; ++rank) {
    // 1, 1 + 2^-7 and 256: the sum has more digits than a bfloat16.
    inputs.push_back({static_cast<uint16_t>(rank == 0 ? 0x3f80 : rank == 1 ? 0x3f81 : 0x4380)});
  }
  std::vector<float> mean(1);
  std::vector<std::vector<uint16_t>> outputs(kSize, std::vector<uint16_t>(1));
  AtEveryRank(kSize, [&](Communicator& communicator) {
    const uint32_t rank = communicator.rank();
    const Partition whole = Partition::AllOf(1, kSize, 1);
    const auto output = std::span(mean).first(whole.size(rank));
    EXPECT_TRUE(
        communicator.ReduceScatterMean({DType::kBFloat16, inputs[rank].data(), 1}, whole, output)
            .ok());
    EXPECT_TRUE(
        communicator.AllGather(output, whole, {DType::kBFloat16, outputs[rank].data(), 1}).ok());
  });
  EXPECT_EQ(mean[0], (1.0f + 1.0078125f + 256.0f) / 3.0f);          // 86.0026...
  for (const auto& output : outputs) EXPECT_EQ(output[0], 0x42ac);  // 86
}

TEST(LocalCommunicatorTest, AllTrueUnlessOneIsNot) {
  constexpr uint32_t kSize = 4;
  for (uint32_t odd_one = 0; odd_one <= kSize; ++odd_one) {
    AtEveryRank(kSize, [&](Communicator& communicator) {
      const auto all = communicator.AllTrue(communicator.rank() != odd_one);
      ASSERT_TRUE(all.ok());
      EXPECT_EQ(*all, odd_one == kSize);  // the last turn has no odd one
    });
  }
}

// Every rank overwrites its input at once after each collective: nobody may still read it.
TEST(LocalCommunicatorTest, ManyRoundsReuseTheSameMemory) {
  constexpr uint32_t kSize = 3;
  constexpr int kRounds = 300;
  constexpr size_t kLength = 257;
  const Partition whole(kLength, {{{0, 50}, {200, 257}}, {{50, 100}}, {{100, 200}}});
  AtEveryRank(kSize, [&](Communicator& communicator) {
    std::vector<float> input(kLength);
    std::vector<float> output(whole.size(communicator.rank()));
    for (int round = 0; round < kRounds; ++round) {
      std::fill(input.begin(), input.end(), static_cast<float>(round));
      ASSERT_TRUE(communicator.ReduceScatterMean(std::span(input), whole, output).ok());
      ASSERT_EQ(output.back(), static_cast<float>(round));
      std::fill(input.begin(), input.end(), -1.0f);
      ASSERT_EQ(*communicator.AllTrue(round % 2 == 0), round % 2 == 0);
      ASSERT_TRUE(communicator.Barrier().ok());
    }
  });
}

TEST(LocalCommunicatorTest, AbortFromAnotherThreadWakesThoseWhoWait) {
  const auto communicators = MakeLocalCommunicators(3);
  std::vector<absl::Status> results(2);
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < 2; ++rank) {  // rank 2 never comes
    threads.emplace_back([&, rank] {
      std::vector<float> input(9), output(3);
      results[rank] =
          communicators[rank]->ReduceScatterMean(std::span(input), EqualPartition(3, 3), output);
    });
  }
  communicators[2]->Abort(absl::InternalError("rank 2 died"));
  communicators[0]->Abort(absl::InternalError("too late to be the reason"));
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) EXPECT_EQ(result, absl::AbortedError("rank 2 died"));
}

TEST(LocalCommunicatorTest, AfterAnAbortEveryCallFails) {
  const auto communicators = MakeLocalCommunicators(2);
  communicators[0]->Abort(absl::CancelledError("over"));
  for (const auto& communicator : communicators) {
    std::vector<float> data(4);
    EXPECT_EQ(communicator->Barrier(), absl::AbortedError("over"));
    EXPECT_EQ(communicator->AllTrue(true).status(), absl::AbortedError("over"));
    EXPECT_EQ(communicator->AllGather({}, EqualPartition(2, 2), std::span(data)), absl::AbortedError("over"));
  }
}

// An abort that races with collectives: the ranks agree on how many have happened.
TEST(LocalCommunicatorTest, ACollectiveHappensAtEveryRankOrAtNone) {
  constexpr uint32_t kSize = 3;
  for (int turn = 0; turn < 20; ++turn) {
    const auto communicators = MakeLocalCommunicators(kSize);
    std::vector<int> done(kSize);
    std::vector<std::thread> threads;
    for (uint32_t rank = 0; rank < kSize; ++rank) {
      threads.emplace_back([&, rank] {
        while (communicators[rank]->Barrier().ok()) {
          ++done[rank];
          if (rank == 0 && done[rank] > turn) std::this_thread::yield();
        }
      });
    }
    communicators[0]->Abort(absl::CancelledError("over"));
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(done, std::vector<int>(kSize, done[0]));
  }
}

}  // namespace
}  // namespace isthmus
