// What any collectives on devices must do.
#include "common/collectives/device_communicator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <thread>
#include <utility>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "tests/common/collectives/communicator_bed.h"
#include "tests/common/tensor/partitions.h"

namespace isthmus {
namespace {

// Memory of a rank's device with what goes in and comes out.
template <typename T>
class OnDevice {
 public:
  OnDevice(uint32_t rank, DeviceStream& stream, const std::vector<T>& values)
      : stream_(stream),
        count_(values.size()),
        memory_(CommunicatorBed::Get()
                    .devices[rank]
                    ->Allocate(std::max<size_t>(1, values.size()) * sizeof(T))
                    .value()) {
    Write(values);
  }
  T* data() const { return memory_.template as<T>(); }
  void Write(const std::vector<T>& values) {
    stream_.CopyIn(memory_.data(), values.data(), values.size() * sizeof(T));
    ISTHMUS_CHECK(stream_.Synchronize().ok());
  }
  // Of a stream that has been synchronized by the communicator.
  std::vector<T> Read() const {
    std::vector<T> values(count_);
    stream_.CopyOut(values.data(), memory_.data(), count_ * sizeof(T));
    ISTHMUS_CHECK(stream_.Synchronize().ok());
    return values;
  }

 private:
  DeviceStream& stream_;
  const size_t count_;
  const DeviceMemory memory_;
};

uint32_t MostRanks() { return static_cast<uint32_t>(CommunicatorBed::Get().devices.size()); }

std::unique_ptr<DeviceStream> StreamOf(uint32_t rank) {
  return CommunicatorBed::Get().devices[rank]->MakeStream().value();
}

// Runs `body` at every rank, each on its own thread.
void AtEveryRank(uint32_t size,
                 const std::function<void(DeviceCommunicator&, DeviceStream&)>& body) {
  const auto communicators = CommunicatorBed::Get().make(size);
  std::vector<std::thread> threads;
  for (const auto& communicator : communicators) {
    threads.emplace_back([&body, &communicator] {
      const auto stream = StreamOf(communicator->rank());
      body(*communicator, *stream);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Sums and halves of these are exact in any order.
std::vector<float> Coarse(uint64_t seed, size_t length) {
  Rng rng(seed);
  std::vector<float> values(length);
  for (float& value : values) value = static_cast<float>(rng.Below(2048)) / 128.0f - 8.0f;
  return values;
}

// Of whole units (docs/protocol.md, P3): equal, or as chance will have it.
Partition Whole(uint64_t seed, uint32_t size, bool equal) {
  constexpr uint64_t kUnit = 64;
  return equal ? EqualPartition(size, 3 * kUnit)
               : RandomPartition(seed, size, (2 * size + 1) * kUnit, kUnit);
}

TEST(DeviceCommunicatorTest, EachRankHasItsPartOfTheMean) {
  for (uint32_t size = 1; size <= MostRanks(); ++size) {
    for (const bool equal : {true, false}) {
      const Partition whole = Whole(size, size, equal);
      std::vector<std::vector<float>> inputs;
      for (uint32_t r = 0; r < size; ++r) inputs.push_back(Coarse(10 * size + r, whole.length()));
      AtEveryRank(size, [&](DeviceCommunicator& ranks, DeviceStream& stream) {
        const uint32_t rank = ranks.rank();
        EXPECT_EQ(ranks.size(), size);
        const OnDevice<float> input(rank, stream, inputs[rank]);
        const OnDevice<float> output(rank, stream, std::vector<float>(whole.size(rank), -99.0f));
        ASSERT_TRUE(ranks.ReduceScatterMean(stream, input.data(), whole, output.data()).ok());
        ASSERT_TRUE(ranks.Synchronize(stream).ok());
        std::vector<std::vector<float>> shares;
        for (const auto& other : inputs) shares.push_back(Packed(other, whole, rank));
        const std::vector<float> mean = output.Read();
        for (size_t i = 0; i < mean.size(); ++i) {
          float sum = 0, magnitudes = 0;
          for (const auto& share : shares) {
            sum += share[i];
            magnitudes += std::fabs(share[i]);
          }
          // (NCCL may scale before it adds, and adds in an order of its own.)
          ASSERT_NEAR(mean[i], sum / static_cast<float>(size), 1e-6f * magnitudes)
              << rank << " of " << size;
        }
      });
    }
  }
}

template <typename T>
void EveryRankGathers(uint32_t size, const Partition& partition) {
  std::vector<T> whole(partition.length());
  std::iota(whole.begin(), whole.end(), T{1});
  AtEveryRank(size, [&](DeviceCommunicator& ranks, DeviceStream& stream) {
    const uint32_t rank = ranks.rank();
    const OnDevice<T> input(rank, stream, Packed(whole, partition, rank));
    const OnDevice<T> output(rank, stream, std::vector<T>(whole.size()));
    ASSERT_TRUE(ranks.AllGather(stream, input.data(), partition, sizeof(T), output.data()).ok());
    ASSERT_TRUE(ranks.Synchronize(stream).ok());
    EXPECT_EQ(output.Read(), whole);
  });
}

TEST(DeviceCommunicatorTest, EveryRankGathersAllParts) {
  for (uint32_t size = 1; size <= MostRanks(); ++size) {
    for (const bool equal : {true, false}) {
      EveryRankGathers<float>(size, Whole(size, size, equal));
      EveryRankGathers<uint16_t>(size, Whole(size + 50, size, equal));  // bfloat16
    }
  }
}

TEST(DeviceCommunicatorTest, TheLargestOfAll) {
  const uint32_t size = MostRanks();
  for (uint32_t largest = 0; largest < size; ++largest) {
    AtEveryRank(size, [&](DeviceCommunicator& ranks, DeviceStream& stream) {
      const OnDevice<uint32_t> word(ranks.rank(), stream,
                                    {ranks.rank() == largest ? 0x80000001 : ranks.rank()});
      ASSERT_TRUE(ranks.Max(stream, word.data()).ok());
      ASSERT_TRUE(ranks.Synchronize(stream).ok());
      EXPECT_EQ(word.Read()[0], 0x80000001);
    });
  }
}

// What comes after a collective on its stream is after it, and memory may be used again.
TEST(DeviceCommunicatorTest, ManyRoundsInTheOrderOfTheStream) {
  const uint32_t size = MostRanks();
  const Partition whole = Whole(3, size, true);
  AtEveryRank(size, [&](DeviceCommunicator& ranks, DeviceStream& stream) {
    const uint32_t rank = ranks.rank();
    OnDevice<float> input(rank, stream, std::vector<float>(whole.length()));
    const OnDevice<float> part(rank, stream, std::vector<float>(whole.size(rank)));
    const OnDevice<float> output(rank, stream, std::vector<float>(whole.length()));
    for (int round = 0; round < 50; ++round) {
      const std::vector<float> values(whole.length(), static_cast<float>(round));
      input.Write(values);
      ASSERT_TRUE(ranks.ReduceScatterMean(stream, input.data(), whole, part.data()).ok());
      ASSERT_TRUE(ranks.AllGather(stream, part.data(), whole, sizeof(float), output.data()).ok());
      ASSERT_TRUE(ranks.Synchronize(stream).ok());
      ASSERT_EQ(output.Read(), values);
      ASSERT_TRUE(ranks.Barrier().ok());
    }
  });
}

TEST(DeviceCommunicatorTest, AbortWakesThoseWhoWait) {
  const uint32_t size = MostRanks();
  if (size < 2) GTEST_SKIP() << "one device";
  const auto communicators = CommunicatorBed::Get().make(size);
  std::vector<absl::Status> results(size - 1);
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank + 1 < size; ++rank) {  // the last never comes
    threads.emplace_back([&, rank] { results[rank] = communicators[rank]->Barrier(); });
  }
  communicators[size - 1]->Abort(absl::InternalError("the last rank died"));
  communicators[0]->Abort(absl::InternalError("too late to be the reason"));
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) {
    EXPECT_EQ(result, absl::AbortedError("the last rank died"));
  }
}

TEST(DeviceCommunicatorTest, AfterAnAbortEveryCallFails) {
  const auto communicators = CommunicatorBed::Get().make(MostRanks());
  communicators[0]->Abort(absl::CancelledError("over"));
  for (const auto& communicator : communicators) {
    const auto stream = StreamOf(communicator->rank());
    const Partition whole = Whole(1, MostRanks(), true);
    const OnDevice<float> memory(communicator->rank(), *stream, std::vector<float>(whole.length()));
    EXPECT_EQ(communicator->Barrier(), absl::AbortedError("over"));
    EXPECT_EQ(communicator->ReduceScatterMean(*stream, memory.data(), whole, memory.data()),
              absl::AbortedError("over"));
    EXPECT_EQ(communicator->AllGather(*stream, memory.data(), whole, 4, memory.data()),
              absl::AbortedError("over"));
    EXPECT_EQ(communicator->Max(*stream, reinterpret_cast<uint32_t*>(memory.data())),
              absl::AbortedError("over"));
  }
}

// An abort is the end of these communicators, not of the devices.
TEST(DeviceCommunicatorTest, NewOnesWorkAfterAnAbort) {
  CommunicatorBed::Get().make(MostRanks())[0]->Abort(absl::CancelledError("over"));
  AtEveryRank(MostRanks(),
              [](DeviceCommunicator& ranks, DeviceStream&) { EXPECT_TRUE(ranks.Barrier().ok()); });
}

}  // namespace
}  // namespace isthmus
